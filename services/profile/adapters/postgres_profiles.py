"""Profiles in PostgreSQL: one database for every process of the service.

Who is one customer changes only under an exclusive lock, and all other writes share it, each before
anything else: so at READ COMMITTED, where each statement sees what was committed before it, a family that is
read under the lock stays so until the commit. Consents of a customer are numbered under the lock on the
row of its root, so that their numbers are the order in which they can be seen.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from services.chassis import postgres_tables
from services.chassis.postgres import Connection, Postgres, Work, WriteQueueFull, parsing
from services.chassis.postgres import StoreUnavailable as Unavailable
from services.chassis.tables import Key, Page, Row, Table, exported, tombstone
from services.profile.adapters import postgres_links
from services.profile.adapters import postgres_statements as statements
from services.profile.adapters.postgres_links import asking, family_of
from services.profile.adapters.rows import attribute_rows, consent_of, consent_row, newest, statement_of
from services.profile.adapters.tables import TABLES
from services.profile.domain import consents as consenting
from services.profile.domain import updates as updating
from services.profile.domain.consents import Consent, Recorded
from services.profile.domain.identities import CustomerKey, Identity
from services.profile.domain.links import Linked, Linking, LinkRecord
from services.profile.domain.updates import Taken, Update
from services.profile.pacing import politely
from services.profile.ports import Profile, StoreOverloaded, StoreUnavailable

MIGRATIONS: Final = Path(__file__).parents[1] / "migrations" / "postgresql"
_END_OF_TIME: Final = 2**63 - 1
_MOST_OVERTAKEN: Final = 10

T = TypeVar("T")


class PostgresProfiles:
    """Implements ``ProfileStore`` on one database, which other processes may share."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def upsert(self, updates: Sequence[Update]) -> list[Taken | None]:
        """Apply updates in order, in one transaction."""
        if not updates:
            return []
        claims = {identity for update in updates for identity in update.identities}
        columns = ([kind for kind, _ in claims], [value for _, value in claims])

        async def write(connection: Connection) -> list[Taken | None]:
            found = await _rows(connection, statements.OWNERS, columns) if claims else []
            # A batch of 10,000 takes a while, in which others have their turn.
            settled = await asyncio.to_thread(_settled, updates, found)
            await connection.execute(statements.INSERT_CUSTOMERS, (settled.customers,))
            if settled.claims:
                claimed = await connection.execute(statements.INSERT_IDENTITIES, (settled.identities,))
                if claimed.rowcount != settled.claims:
                    raise _Overtaken
            await connection.execute(statements.INSERT_ATTRIBUTES, (settled.attributes,))
            return settled.answers

        return await self._write(write)

    async def record(self, consents: Sequence[Consent]) -> list[Recorded]:
        """Append consents in order, in one transaction."""
        if not consents:
            return []
        receipts = list({consent.statement.receipt_id for consent in consents})
        customers = list({consent.statement.customer_id for consent in consents})

        async def write(connection: Connection) -> list[Recorded]:
            await connection.execute(statements.LOCK_FAMILIES, (customers,))
            on_file = await _rows(connection, statements.KNOWN_CUSTOMERS, (customers,))
            rows = await _rows(connection, statements.KNOWN_RECEIPTS, (receipts,))
            with parsing(self._postgres.name):
                known = {row[0]: statement_of(row) for row in rows}
            names = frozenset(customer_id for (customer_id,) in on_file)
            answers, fresh = await asyncio.to_thread(consenting.settle, consents, known, names)
            await _append(connection, fresh)
            return answers

        return await self._write(write)

    async def resolve(self, identities: Sequence[Identity]) -> list[str | None]:
        """Return the customer of each identity, or None."""
        if not identities:
            return []
        rows = await self._read(partial(_rows, statement=statements.ROOTS, asked=asking(identities)))
        found: dict[int, str] = dict(rows)
        return [found.get(n) for n in range(1, len(identities) + 1)]

    async def read(self, keys: Sequence[CustomerKey], before: int | None) -> list[Profile | None]:
        """Return what was recorded of each before a time."""
        if not keys:
            return []
        asked = {**asking(keys), "end": _END_OF_TIME if before is None else before}
        rows = await self._read(partial(_rows, statement=statements.PROFILES, asked=asked))
        with _translating(), parsing(self._postgres.name):
            found = {n: _profile(*row) async for n, *row in politely(rows)}
        return [found.get(n) for n in range(1, len(keys) + 1)]

    async def link(self, linking: Linking) -> Linked:
        """Put a link or an unlink on file, in one transaction, alone."""

        async def write(connection: Connection) -> Linked:
            with parsing(self._postgres.name):
                return await postgres_links.put(connection, linking, partial(_append, connection))

        return await self._write(write, postgres_links.alone)

    async def links(self, customer_id: str) -> list[LinkRecord]:
        """Return every act that a customer had a part in."""
        return await self._read(partial(postgres_links.related, customer_id=customer_id))

    async def consents_of(self, customer_id: str) -> list[Consent]:
        """Return every consent of a customer."""
        return await self._read(partial(postgres_links.consents_of, customer_id=customer_id))

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return a page of the rows of these ids."""

        async def fetch(table: Table, after: Key | None, limit: int) -> list[Row]:
            return await self._read(
                lambda connection: postgres_tables.page(connection, table, customer_ids, after, limit)
            )

        return await exported(fetch, TABLES, page_token)

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], int]) -> Mapping[str, int] | None:
        """Remove all rows of these ids, in one transaction, alone."""
        hashes = list(map(tombstone, dict.fromkeys(customer_ids)))

        async def write(connection: Connection) -> Mapping[str, int] | None:
            # An import that has begun is over before, and one that begins later finds the erasure.
            await connection.execute(statements.LOCK_ERASURES)
            erase_time = now()
            if await _rows(connection, statements.APART, {"ids": list(customer_ids)}):
                return None
            erased = await postgres_tables.erase(connection, TABLES, customer_ids)
            await connection.execute(statements.INSERT_ERASURES, (erase_time, hashes))
            return erased

        return await self._write(write, postgres_links.alone)

    async def _read(self, read: Work[T]) -> T:
        async def parsed(connection: Connection) -> T:
            with parsing(self._postgres.name):
                return await read(connection)

        with _translating():
            return await self._postgres.read(parsed)

    async def _write(self, write: Work[T], lock: Work[None] = postgres_links.beside) -> T:
        async def locked(connection: Connection) -> T:
            await lock(connection)
            return await write(connection)

        with _translating():
            for _ in range(_MOST_OVERTAKEN):
                with suppress(_Overtaken):
                    return await self._postgres.write(locked)
        raise StoreUnavailable("the profile store cannot be used: others write the same again and again")


class _Overtaken(Exception):
    """Somebody else took an identity or a receipt meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    answers: list[Taken | None]
    customers: list[str]
    claims: int
    identities: str
    attributes: str


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise StoreUnavailable(f"the profile store cannot be used: {error}") from error
    except WriteQueueFull as error:
        raise StoreOverloaded("the queue to the profile store is full") from error


def _settled(updates: Sequence[Update], owners: Sequence[Row]) -> _Settled:
    answers, claimed = updating.settle(
        updates, {Identity(kind, value): customer_id for kind, value, customer_id in owners}
    )
    applied = [update for update, taken in zip(updates, answers, strict=True) if taken is None]
    return _Settled(
        answers=answers,
        customers=list(dict.fromkeys(update.customer_id for update in applied)),
        claims=len(claimed),
        identities=_json((*identity, owner) for identity, owner in claimed.items()),
        attributes=_json(attribute_rows(applied)),
    )


async def _append(connection: Connection, consents: Sequence[Consent]) -> None:
    if consents:
        rows = await asyncio.to_thread(_json, map(consent_row, consents))
        if (await connection.execute(statements.INSERT_CONSENTS, (rows,))).rowcount != len(consents):
            raise _Overtaken


async def _rows(connection: Connection, statement: str, asked: Any) -> list[Row]:
    return await (await connection.execute(statement, asked)).fetchall()


def _profile(root: str, members: Sequence[str], version: int, attributes: str, consents: str) -> Profile:
    family = family_of(root, members, version)
    return Profile(
        customer_id=family.customer_id,
        members=family.members,
        version=family.version,
        attributes=newest(json.loads(attributes)),
        consents=consenting.newest(map(consent_of, json.loads(consents))),
    )


def _json(items: Iterable[Any]) -> str:
    return json.dumps(list(items), ensure_ascii=False)
