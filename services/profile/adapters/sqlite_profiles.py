"""Profiles in SQLite: one file, written in groups, read inline."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from services.chassis import sqlite, sqlite_tables
from services.chassis.tables import Key, Page, Row, Table, exported, tombstone
from services.profile.adapters import sqlite_links
from services.profile.adapters import sqlite_statements as statements
from services.profile.adapters.rows import attribute_rows, consent_of, consent_row, newest, statement_of
from services.profile.adapters.tables import TABLES
from services.profile.domain import consents as consenting
from services.profile.domain import updates as updating
from services.profile.domain.consents import Consent, Recorded
from services.profile.domain.identities import CustomerKey, Identity
from services.profile.domain.links import Linked, Linking, LinkRecord, preferred
from services.profile.domain.updates import Taken, Update
from services.profile.pacing import politely
from services.profile.ports import Profile, StoreOverloaded, StoreUnavailable

MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"
_END_OF_TIME: Final = 2**63 - 1

T = TypeVar("T")


class SqliteProfiles:
    """Implements ``ProfileStore`` on one database."""

    def __init__(self, database: sqlite.Database) -> None:
        self._database = database

    async def upsert(self, updates: Sequence[Update]) -> list[Taken | None]:
        """Apply updates in order, in one transaction."""
        if not updates:
            return []

        def write(connection: sqlite3.Connection) -> list[Taken | None]:
            claims = {identity for update in updates for identity in update.identities}
            owners = {
                Identity(kind, value): customer_id
                for kind, value, customer_id in _known(connection, statements.OWNERS, claims)
            }
            answers, claimed = updating.settle(updates, owners)
            applied = [update for update, taken in zip(updates, answers, strict=True) if taken is None]
            connection.execute(statements.INSERT_CUSTOMERS, _json({u.customer_id for u in applied}))
            connection.execute(
                statements.INSERT_IDENTITIES, _json((*identity, owner) for identity, owner in claimed.items())
            )
            connection.execute(statements.INSERT_ATTRIBUTES, _json(attribute_rows(applied)))
            return answers

        return await self._write(write)

    async def record(self, consents: Sequence[Consent]) -> list[Recorded]:
        """Append consents in order, in one transaction."""
        if not consents:
            return []

        def write(connection: sqlite3.Connection) -> list[Recorded]:
            receipts = {consent.statement.receipt_id for consent in consents}
            customers = {consent.statement.customer_id for consent in consents}
            rows = _known(connection, statements.KNOWN_RECEIPTS, receipts)
            with sqlite.parsing(self._database.path):
                known = {row[0]: statement_of(row) for row in rows}
            answers, fresh = consenting.settle(
                consents, known, frozenset(_known(connection, statements.KNOWN_CUSTOMERS, customers))
            )
            connection.execute(statements.INSERT_CONSENTS, _json(map(consent_row, fresh)))
            return answers

        return await self._write(write)

    async def resolve(self, identities: Sequence[Identity]) -> list[str | None]:
        """Return the customer of each identity, or None."""
        return [self._resolve(identity) async for identity in politely(identities)]

    async def read(self, keys: Sequence[CustomerKey], before: int | None) -> list[Profile | None]:
        """Return what was recorded of each before a time."""
        end = _END_OF_TIME if before is None else before
        return [self._profile(key, end) async for key in politely(keys)]

    async def link(self, linking: Linking) -> Linked:
        """Put a link or an unlink on file, in one transaction."""

        def write(connection: sqlite3.Connection) -> Linked:
            return sqlite_links.put(
                connection,
                linking,
                lambda members: self._said(connection, members),
                lambda strict: connection.execute(
                    statements.INSERT_CONSENTS, _json(map(consent_row, strict))
                ),
            )

        return await self._write(write)

    async def links(self, customer_id: str) -> list[LinkRecord]:
        """Return every act that a customer had a part in."""
        with self._reading() as read:
            family = sqlite_links.family(read, customer_id)
            return [] if family is None else sqlite_links.related(read, family.members)

    async def consents_of(self, customer_id: str) -> list[Consent]:
        """Return every consent of a customer."""
        with self._reading() as read:
            family = sqlite_links.family(read, customer_id)
            return [] if family is None else self._said(read, family.members)

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return a page of the rows of these ids."""

        async def fetch(table: Table, after: Key | None, limit: int) -> list[Row]:
            await asyncio.sleep(0)
            return sqlite_tables.page(self._database.read, table, customer_ids, after, limit)

        with _translating():
            return await exported(fetch, TABLES, page_token)

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], int]) -> Mapping[str, int] | None:
        """Remove all rows of these ids, in one transaction."""

        def write(connection: sqlite3.Connection) -> Mapping[str, int] | None:
            if connection.execute(statements.APART, _json(customer_ids)).fetchone():
                return None
            erased = sqlite_tables.erase(connection, TABLES, customer_ids)
            hashes, erase_time = map(tombstone, customer_ids), now()
            connection.execute(statements.INSERT_ERASURES, _json((one, erase_time) for one in hashes))
            return erased

        return await self._write(write)

    def _resolve(self, identity: Identity) -> str | None:
        with self._reading() as read:
            owner = _owner(read, identity)
            return None if owner is None else sqlite_links.root(read, owner)

    def _profile(self, key: CustomerKey, end: int) -> Profile | None:
        with self._reading() as read:
            customer_id = _owner(read, key) if isinstance(key, Identity) else key
            if customer_id is None or (family := sqlite_links.family(read, customer_id)) is None:
                return None
            attributes = [
                row
                for member in preferred(family)
                for row in read.execute(statements.ATTRIBUTES, (member, end)).fetchall()
            ]
            return Profile(
                customer_id=family.customer_id,
                members=family.members,
                version=family.version,
                attributes=newest(attributes),
                consents=consenting.newest(self._said(read, family.members, end)),
            )

    def _said(
        self, connection: sqlite3.Connection, members: Sequence[str], end: int = _END_OF_TIME
    ) -> list[Consent]:
        rows = connection.execute(statements.CONSENTS, (json.dumps(members), end)).fetchall()
        return list(map(consent_of, rows))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Read in several statements what the file holds at one moment."""
        read = self._database.read
        with _translating(), sqlite.parsing(self._database.path):
            read.execute("BEGIN")
            try:
                yield read
            finally:
                read.rollback()

    async def _write(self, write: Callable[[sqlite3.Connection], T]) -> T:
        with _translating():
            return await self._database.write(write, durable=True)


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except (sqlite.StoreUnavailable, sqlite3.Error) as error:
        raise StoreUnavailable(f"the profile store cannot be used: {error}") from error
    except sqlite.WriteQueueFull as error:
        raise StoreOverloaded("the queue to the profile store is full") from error


def _owner(connection: sqlite3.Connection, identity: Identity) -> str | None:
    row = connection.execute(statements.OWNER, identity).fetchone()
    return None if row is None else str(row[0])


def _known(connection: sqlite3.Connection, statement: str, asked: Iterable[Any]) -> list[Any]:
    found: list[Any] = json.loads(connection.execute(statement, _json(asked)).fetchone()[0])
    return found


def _json(items: Iterable[Any]) -> tuple[str]:
    return (json.dumps(list(items), ensure_ascii=False),)
