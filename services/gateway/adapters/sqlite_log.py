"""The decision log in SQLite: one file, written in groups, read inline."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

from services.chassis import sqlite_tables
from services.chassis.sqlite import Database, StoreUnavailable, Write, WriteQueueFull, parsing
from services.chassis.tables import Key, Page, Row, Table, exported, tombstone
from services.engine.instants import instant, microseconds
from services.gateway.adapters import sqlite_ledger
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
    True: """
        INSERT INTO decisions SELECT ?1, ?, ?, ?, ?, ?, ?
        WHERE NOT EXISTS (SELECT 1 FROM erased_decisions WHERE decision_id = ?1) ON CONFLICT DO NOTHING
    """,
    False: """
        INSERT INTO dry_run_decisions SELECT ?1, ?, ?, ?, ?, ?
        WHERE NOT EXISTS (SELECT 1 FROM erased_decisions WHERE decision_id = ?1) ON CONFLICT DO NOTHING
    """,
}
# A row of nulls stands for a decision that was erased.
_SELECT: Final = {
    True: """
        SELECT fingerprint, record_time, record FROM decisions WHERE decision_id = ?1
        UNION ALL SELECT NULL, NULL, NULL FROM erased_decisions WHERE decision_id = ?1
    """,
    False: """
        SELECT fingerprint, record_time, record FROM dry_run_decisions WHERE decision_id = ?1
        UNION ALL SELECT NULL, NULL, NULL FROM erased_decisions WHERE decision_id = ?1
    """,
}
# A batch goes in and comes out as one JSON value: with a step for each outcome the writer thread would
# have to win the interpreter's lock back from the event loop once an outcome.
_KNOWN_OUTCOMES: Final = """
    SELECT json_group_array(json_array(
        outcome_id, decision_id, rank, kind, outcome_time, measures, instead_action_id, actor_id))
    FROM outcomes WHERE outcome_id IN (SELECT value FROM json_each(?))
"""
_ANSWERED: Final = """
    SELECT json_group_array(json_array(decision_id, customer_id, actions, offers))
    FROM decisions WHERE decision_id IN (SELECT value FROM json_each(?))
"""
_CONTACTED: Final = """
    SELECT json_group_array(json_array(decision_id, rank, reserve_time, expire_time, consume_time,
        release_time, claim_id, claim_time, claim_code, claim_text))
    FROM contacts WHERE decision_id IN (SELECT value FROM json_each(?))
"""
_ERASED: Final = """
    SELECT json_group_array(decision_id)
    FROM erased_decisions WHERE decision_id IN (SELECT value FROM json_each(?))
"""
_OUTCOME: Final = "outcome_id, decision_id, rank, kind, outcome_time, measures, instead_action_id, actor_id"
_INSERT_OUTCOMES: Final = f"""
    INSERT INTO outcomes ({_OUTCOME}, record_time, customer_id)
    SELECT {", ".join(f"json_extract(value, '$[{column}]')" for column in range(10))} FROM json_each(?)
"""  # noqa: S608 - of column names only
_OUTCOMES: Final = f"""
    SELECT {_OUTCOME} FROM outcomes WHERE decision_id = ? ORDER BY outcome_time, outcome_id LIMIT ?
"""  # noqa: S608 - of column names only
_KEEP_MODEL: Final = """
    INSERT INTO last_model VALUES (1, ?) ON CONFLICT DO UPDATE SET description = excluded.description
"""
_REMEMBER_CUSTOMERS: Final = """
    INSERT INTO erasures SELECT value, ?2 FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET erase_time = max(erase_time, excluded.erase_time)
"""
_REMEMBER_DECISIONS: Final = """
    INSERT INTO erased_decisions
    SELECT decision_id, ?2 FROM (
        SELECT decision_id, customer_id FROM decisions
        UNION ALL SELECT decision_id, customer_id FROM dry_run_decisions
    ) WHERE customer_id IN (SELECT value FROM json_each(?1))
    ON CONFLICT DO NOTHING
"""
_TRACE_FREE_FROM: Final = 0.5
"""The share of a full queue from which records go without their optional trace."""


class SqliteLog:
    """Implements ``DecisionLog`` on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, decision_id: str, live: bool) -> Logged | None:
        """Return a decision on record."""
        with _reading("the decision log"):
            return self._find(self._database.read, decision_id, live)

    async def append(self, entry: LogEntry) -> Logged | None:
        """Write a decision, or return the one that stands under its id."""
        crowded = self._database.queue_depth >= _TRACE_FREE_FROM * self._database.queue_limit
        record = entry.without_trace if crowded else entry.record

        def write(connection: sqlite3.Connection) -> Logged | None:
            row = [entry.decision_id, entry.customer_id, entry.fingerprint, microseconds(entry.record_time)]
            row += [len(entry.offers), record, *([offers_text(entry.offers)] if entry.live else [])]
            if not connection.execute(_INSERT[entry.live], row).rowcount:
                return self._find(connection, entry.decision_id, entry.live)
            if entry.reserves:
                sqlite_ledger.advance(connection, entry.versions)
                sqlite_ledger.put(
                    connection,
                    reservations(entry.decision_id, entry.customer_id, entry.offers, entry.record_time),
                )
            if entry.live and entry.identity_version:
                sqlite_ledger.keep(connection, entry.members, entry.customer_id, entry.identity_version)
            ensure_valid(entry.valid_until)
            return None

        return await self._write(write, "the decision log", durable=entry.reserves)

    async def family(self, customer_id: str) -> Sequence[str]:
        """Return who was one with a customer."""
        with _reading("the contact ledger"):
            return sqlite_ledger.family(self._database.read, customer_id)

    async def ledger(self, members: Sequence[str], since: datetime) -> Reading:
        """Read what members share."""
        with _reading("the contact ledger"), parsing(self._database.path):
            return sqlite_ledger.read(self._database.read, members, microseconds(since))

    async def standing(self, decision_id: str, rank: int) -> Standing | None:
        """Return what the ledger holds of one ranked action."""
        with _reading("the contact ledger"), parsing(self._database.path):
            return sqlite_ledger.standing(self._database.read, decision_id, rank)

    async def claim(
        self,
        decision_id: str,
        rank: int,
        claim: Claim,
        versions: Mapping[str, int],
        valid_until: float = math.inf,
    ) -> Claim:
        """Write the first verdict on a claim, or return the one that stands."""

        def write(connection: sqlite3.Connection) -> Claim:
            written = sqlite_ledger.claim(connection, decision_id, rank, claim, versions)
            ensure_valid(valid_until)
            return written

        return await self._write(write, "the contact ledger")

    async def record_outcomes(self, outcomes: Sequence[OutcomeReport], now: datetime) -> Settled:
        """Write outcomes durably and answer each."""
        return await self._write(lambda connection: self._record(connection, outcomes, now), "outcomes")

    async def outcomes_of(self, decision_id: str) -> list[OutcomeReport]:
        """Return the first outcomes of a decision."""
        with _reading("outcomes"), parsing(self._database.path):
            rows = self._database.read.execute(_OUTCOMES, (decision_id, MOST_OUTCOMES_TOLD)).fetchall()
            return [outcome_of(row) for row in rows]

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return the rows of customers, from a token on."""

        async def fetch(table: Table, after: Key | None, limit: int) -> list[Row]:
            return sqlite_tables.page(self._database.read, table, customer_ids, after, limit)

        with _reading("the decision log"):
            return await exported(fetch, TABLES, page_token)

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], datetime]) -> dict[str, int]:
        """Delete all that belongs to customers."""
        hashes = json.dumps(list(map(tombstone, customer_ids)))

        def write(connection: sqlite3.Connection) -> dict[str, int]:
            moment = microseconds(now())
            connection.execute(_REMEMBER_CUSTOMERS, (hashes, moment))
            connection.execute(_REMEMBER_DECISIONS, (json.dumps(list(customer_ids)), moment))
            return sqlite_tables.erase(connection, TABLES, customer_ids)

        return await self._write(write, "the decision log")

    async def last_model(self) -> Model | None:
        """Return the model that was kept last."""
        try:
            row = self._database.read.execute("SELECT description FROM last_model").fetchone()
            return None if row is None else model_of(row[0])
        except (StoreUnavailable, sqlite3.Error, ValueError, TypeError, KeyError):
            return None

    async def keep_model(self, model: Model) -> None:
        """Remember a model; failing to is of no consequence."""
        text = model_text(model)
        try:
            await self._database.write(
                lambda connection: connection.execute(_KEEP_MODEL, (text,)).rowcount, durable=False
            )
        except (WriteQueueFull, StoreUnavailable, sqlite3.Error):
            return

    def _find(self, connection: sqlite3.Connection, decision_id: str, live: bool) -> Logged | None:
        row = connection.execute(_SELECT[live], (decision_id,)).fetchone()
        if row is None:
            return None
        if row[0] is None:
            raise DecisionErased
        with parsing(self._database.path):
            return Logged(fingerprint=row[0], record_time=instant(row[1]), record=row[2])

    async def _write(self, write: Write[T], what: str, *, durable: bool = True) -> T:
        try:
            return await self._database.write(write, durable=durable)
        except WriteQueueFull:
            raise LogFull from None
        except (StoreUnavailable, sqlite3.Error) as error:
            raise NotLogged(f"{what} cannot be written: {error}") from error

    def _record(
        self, connection: sqlite3.Connection, reports: Sequence[OutcomeReport], now: datetime
    ) -> Settled:
        ids, decisions = {report.outcome_id for report in reports}, {report.decision_id for report in reports}
        rows = _rows(connection, _KNOWN_OUTCOMES, ids)
        answers, contacts = (_rows(connection, query, decisions) for query in (_ANSWERED, _CONTACTED))
        erased = frozenset(_rows(connection, _ERASED, decisions))
        done = settlement(self._database.path.name, reports, rows, answers, contacts, erased, now)
        if done.outcomes:
            connection.execute(_INSERT_OUTCOMES, (json.dumps(done.outcomes, ensure_ascii=False),))
            sqlite_ledger.put(connection, done.contacts)
            sqlite_ledger.move(connection, done.owners)
        return done.settled


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except (StoreUnavailable, sqlite3.Error) as error:
        raise NotLogged(f"{what} cannot be read: {error}") from error


def _rows(connection: sqlite3.Connection, statement: str, asked: Iterable[str]) -> list[Any]:
    found: list[Any] = json.loads(connection.execute(statement, (json.dumps(list(asked)),)).fetchone()[0])
    return found
