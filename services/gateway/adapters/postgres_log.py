"""The decision log in PostgreSQL: one database for every process of the gateway."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

from services.chassis import postgres_tables
from services.chassis.postgres import (
    Connection,
    Postgres,
    StoreUnavailable,
    Work,
    WriteQueueFull,
    parsing,
)
from services.chassis.tables import Key, Page, Row, Table, exported, tombstone
from services.engine.instants import instant, microseconds
from services.gateway.adapters import postgres_ledger
from services.gateway.adapters.ledger_rows import offers_text, reservations
from services.gateway.adapters.log_rows import model_of, model_text, outcome_of, settlement
from services.gateway.adapters.tables import TABLES
from services.gateway.domain.knowledge import Model
from services.gateway.domain.ledger import Claim, Reading, Standing
from services.gateway.domain.outcomes import OutcomeReport, Settled
from services.gateway.ports import (
    MOST_OUTCOMES_TOLD,
    DecisionErased,
    LogEntry,
    LogFull,
    Logged,
    NotLogged,
    ensure_valid,
)

T = TypeVar("T")
_INSERT: Final = {
    True: "INSERT INTO decisions VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
    False: "INSERT INTO dry_run_decisions VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
}
# A row of nulls stands for a decision that was erased.
_SELECT: Final = {
    True: """
        SELECT fingerprint, record_time, record FROM decisions WHERE decision_id = %(id)s
        UNION ALL SELECT NULL, NULL, NULL FROM erased_decisions WHERE decision_id = %(id)s
    """,
    False: """
        SELECT fingerprint, record_time, record FROM dry_run_decisions WHERE decision_id = %(id)s
        UNION ALL SELECT NULL, NULL, NULL FROM erased_decisions WHERE decision_id = %(id)s
    """,
}
_ERASED: Final = "SELECT decision_id FROM erased_decisions WHERE decision_id = ANY(%s)"
_OUTCOME: Final = "outcome_id, decision_id, rank, kind, outcome_time, measures, instead_action_id, actor_id"
_KNOWN_OUTCOMES: Final = f"SELECT {_OUTCOME} FROM outcomes WHERE outcome_id = ANY(%s)"  # noqa: S608
_ANSWERED: Final = (
    "SELECT decision_id, customer_id, actions, offers FROM decisions WHERE decision_id = ANY(%s)"
)
_CONTACTED: Final = """
    SELECT decision_id, rank, reserve_time, expire_time, consume_time, release_time,
           claim_id, claim_time, claim_code, claim_text
    FROM contacts WHERE decision_id = ANY(%s)
"""
# In the order of their ids: of two batches that share some, one waits for the other.
_INSERT_OUTCOMES: Final = """
    INSERT INTO outcomes (outcome_id, decision_id, rank, kind, outcome_time, measures, instead_action_id,
        actor_id, record_time, customer_id)
    SELECT row ->> 0, row ->> 1, (row ->> 2)::integer, row ->> 3, (row ->> 4)::bigint, row ->> 5,
           row ->> 6, row ->> 7, (row ->> 8)::bigint, row ->> 9
    FROM jsonb_array_elements(%s::jsonb) AS row ORDER BY (row ->> 0) COLLATE "C"
    ON CONFLICT DO NOTHING
"""
_OUTCOMES: Final = f"""
    SELECT {_OUTCOME} FROM outcomes WHERE decision_id = %s ORDER BY outcome_time, outcome_id LIMIT %s
"""  # noqa: S608 - of column names only
_KEEP_MODEL: Final = """
    INSERT INTO last_model VALUES (1, %s) ON CONFLICT (one) DO UPDATE SET description = excluded.description
"""
_LOCK_ERASURES: Final = "LOCK TABLE erasures IN ROW EXCLUSIVE MODE"
_REMEMBER_CUSTOMERS: Final = """
    INSERT INTO erasures SELECT hash, %s FROM unnest(%s::text[]) AS hash ORDER BY hash COLLATE "C"
    ON CONFLICT (customer_hash) DO UPDATE
    SET erase_time = greatest(erasures.erase_time, excluded.erase_time)
"""
_REMEMBER_DECISIONS: Final = """
    INSERT INTO erased_decisions
    SELECT decision_id, %(moment)s FROM (
        SELECT decision_id FROM decisions WHERE customer_id = ANY(%(ids)s)
        UNION ALL SELECT decision_id FROM dry_run_decisions WHERE customer_id = ANY(%(ids)s)
    ) AS erased ORDER BY decision_id
    ON CONFLICT DO NOTHING
"""
_TRACE_FREE_FROM: Final = 0.5
"""The share of a full queue from which records go without their optional trace."""
_MOST_OVERTAKEN: Final = 10


class PostgresLog:
    """Implements ``DecisionLog`` on one database, which other processes may share."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def find(self, decision_id: str, live: bool) -> Logged | None:
        """Return a decision on record."""
        return await self._read(
            lambda connection: self._find(connection, decision_id, live), "the decision log"
        )

    async def append(self, entry: LogEntry) -> Logged | None:
        """Write a decision, or return the one that stands under its id."""
        crowded = self._postgres.queue_depth >= _TRACE_FREE_FROM * self._postgres.queue_limit
        row = [entry.decision_id, entry.customer_id, entry.fingerprint, microseconds(entry.record_time)]
        row += [len(entry.offers), entry.without_trace if crowded else entry.record]
        row += [offers_text(entry.offers)] if entry.live else []

        async def write(connection: Connection) -> Logged | None:
            # Where another is about to write the same decision, this waits until it has or has not.
            if not (await connection.execute(_INSERT[entry.live], row)).rowcount:
                return await self._find(connection, entry.decision_id, entry.live)
            # Asked after, as the insert may have waited for an erasure to end.
            if await _erased(connection, [entry.decision_id]):
                raise DecisionErased
            if entry.reserves:
                await postgres_ledger.advance(connection, entry.versions)
                await postgres_ledger.put(
                    connection,
                    reservations(entry.decision_id, entry.customer_id, entry.offers, entry.record_time),
                )
            if entry.live and entry.identity_version:
                await postgres_ledger.keep(
                    connection, entry.members, entry.customer_id, entry.identity_version
                )
            ensure_valid(entry.valid_until)
            return None

        return await self._write(write, "the decision log", durable=entry.reserves)

    async def family(self, customer_id: str) -> Sequence[str]:
        """Return who was one with a customer."""
        return await self._read(
            lambda connection: postgres_ledger.family(connection, customer_id), "the contact ledger"
        )

    async def ledger(self, members: Sequence[str], since: datetime) -> Reading:
        """Read what members share."""

        async def read(connection: Connection) -> Reading:
            with parsing(self._postgres.name):
                return await postgres_ledger.read(connection, members, microseconds(since))

        return await self._read(read, "the contact ledger")

    async def standing(self, decision_id: str, rank: int) -> Standing | None:
        """Return what the ledger holds of one ranked action."""

        async def read(connection: Connection) -> Standing | None:
            with parsing(self._postgres.name):
                return await postgres_ledger.standing(connection, decision_id, rank)

        return await self._read(read, "the contact ledger")

    async def claim(
        self,
        decision_id: str,
        rank: int,
        claim: Claim,
        versions: Mapping[str, int],
        valid_until: float = math.inf,
    ) -> Claim:
        """Write the first verdict on a claim, or return the one that stands."""

        async def write(connection: Connection) -> Claim:
            written = await postgres_ledger.claim(connection, decision_id, rank, claim, versions)
            ensure_valid(valid_until)
            return written

        return await self._write(write, "the contact ledger")

    async def record_outcomes(self, outcomes: Sequence[OutcomeReport], now: datetime) -> Settled:
        """Write outcomes durably and answer each."""
        for _ in range(_MOST_OVERTAKEN):
            try:
                return await self._write(
                    lambda connection: self._record(connection, outcomes, now), "outcomes"
                )
            except _Overtaken:
                continue
        raise NotLogged("outcomes cannot be written: others report the same ones again and again")

    async def outcomes_of(self, decision_id: str) -> list[OutcomeReport]:
        """Return the first outcomes of a decision."""

        async def read(connection: Connection) -> list[OutcomeReport]:
            found = await connection.execute(_OUTCOMES, (decision_id, MOST_OUTCOMES_TOLD))
            with parsing(self._postgres.name):
                return [outcome_of(row) for row in await found.fetchall()]

        return await self._read(read, "outcomes")

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return the rows of customers, from a token on."""

        async def read(connection: Connection) -> Page:
            async def fetch(table: Table, after: Key | None, limit: int) -> list[Row]:
                return await postgres_tables.page(connection, table, customer_ids, after, limit)

            return await exported(fetch, TABLES, page_token)

        return await self._read(read, "the decision log")

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], datetime]) -> dict[str, int]:
        """Delete all that belongs to customers."""
        ids = list(dict.fromkeys(customer_ids))

        async def write(connection: Connection) -> dict[str, int]:
            # First, so that what is imported meanwhile is either seen here or knows of the erasure.
            await connection.execute(_LOCK_ERASURES)
            await postgres_ledger.lock(connection, ids)
            await postgres_ledger.drop_unused(connection, ids)
            moment = microseconds(now())
            await connection.execute(_REMEMBER_CUSTOMERS, (moment, list(map(tombstone, ids))))
            await connection.execute(_REMEMBER_DECISIONS, {"moment": moment, "ids": ids})
            return await postgres_tables.erase(connection, TABLES, ids)

        return await self._write(write, "the decision log")

    async def last_model(self) -> Model | None:
        """Return the model that was kept last."""

        async def read(connection: Connection) -> Model | None:
            row = await (await connection.execute("SELECT description FROM last_model")).fetchone()
            return None if row is None else model_of(row[0])

        try:
            return await self._postgres.read(read)
        except (WriteQueueFull, StoreUnavailable, ValueError, TypeError, KeyError):
            return None

    async def keep_model(self, model: Model) -> None:
        """Remember a model; failing to is of no consequence."""
        text = model_text(model)
        try:
            await self._postgres.write(
                lambda connection: connection.execute(_KEEP_MODEL, (text,)), durable=False
            )
        except (WriteQueueFull, StoreUnavailable):
            return

    async def _find(self, connection: Connection, decision_id: str, live: bool) -> Logged | None:
        row = await (await connection.execute(_SELECT[live], {"id": decision_id}, binary=True)).fetchone()
        if row is None:
            return None
        if row[0] is None:
            raise DecisionErased
        with parsing(self._postgres.name):
            return Logged(fingerprint=row[0], record_time=instant(row[1]), record=row[2])

    async def _read(self, read: Work[T], what: str) -> T:
        try:
            return await self._postgres.read(read)
        except (WriteQueueFull, StoreUnavailable) as error:
            raise NotLogged(f"{what} cannot be read: {error}") from error

    async def _write(self, write: Work[T], what: str, *, durable: bool = True) -> T:
        try:
            return await self._postgres.write(write, durable=durable)
        except WriteQueueFull:
            raise LogFull from None
        except StoreUnavailable as error:
            raise NotLogged(f"{what} cannot be written: {error}") from error

    async def _record(
        self, connection: Connection, reports: Sequence[OutcomeReport], now: datetime
    ) -> Settled:
        ids, decisions = {report.outcome_id for report in reports}, {report.decision_id for report in reports}
        owners = await postgres_ledger.owners(connection, decisions)
        await postgres_ledger.lock(connection, owners)
        answers = await (await connection.execute(_ANSWERED, (list(decisions),))).fetchall()
        if gone := owners - {owner for _, owner, _, _ in answers}:
            await postgres_ledger.drop_unused(connection, gone)
        erased = await _erased(connection, decisions)
        known = await (await connection.execute(_KNOWN_OUTCOMES, (list(ids),))).fetchall()
        contacts = await (await connection.execute(_CONTACTED, (list(decisions),))).fetchall()
        # A batch of 10,000 takes a while, in which others have their turn.
        done = await asyncio.to_thread(
            settlement, self._postgres.name, reports, known, answers, contacts, erased, now
        )
        if done.outcomes:
            rows = await asyncio.to_thread(json.dumps, done.outcomes, ensure_ascii=False)
            if (await connection.execute(_INSERT_OUTCOMES, (rows,))).rowcount != len(done.outcomes):
                raise _Overtaken
            await postgres_ledger.put(connection, done.contacts)
            await postgres_ledger.move(connection, done.owners)
        return done.settled


async def _erased(connection: Connection, decision_ids: Iterable[str]) -> frozenset[str]:
    found = await connection.execute(_ERASED, (list(decision_ids),))
    return frozenset(decision_id for (decision_id,) in await found.fetchall())


class _Overtaken(Exception):
    """Somebody else reported one of the outcomes meanwhile, of another customer perhaps."""
