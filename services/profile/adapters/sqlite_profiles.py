"""Profiles in SQLite: one file, written in groups, read inline."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from services.chassis import sqlite
from services.profile.adapters import sqlite_links, statements
from services.profile.domain import consents as consenting
from services.profile.domain import updates as updating
from services.profile.domain.attributes import Attribute
from services.profile.domain.consents import Consent, Recorded, State, Statement
from services.profile.domain.identities import Identity
from services.profile.domain.links import Linked, Linking, LinkRecord, preferred
from services.profile.domain.updates import Taken, Update
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
            rows = {
                (u.customer_id, name, u.record_time): (value, u.source)
                for u in applied
                for name, value in u.attributes.items()
            }
            connection.execute(statements.INSERT_ATTRIBUTES, _json((*key, *row) for key, row in rows.items()))
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
                known = {row[0]: _statement(row) for row in rows}
            answers, fresh = consenting.settle(
                consents, known, frozenset(_known(connection, statements.KNOWN_CUSTOMERS, customers))
            )
            connection.execute(statements.INSERT_CONSENTS, _json(map(_row, fresh)))
            return answers

        return await self._write(write)

    async def resolve(self, identity: Identity) -> str | None:
        """Return the customer of an identity, or None."""
        with _translating():
            row = self._database.read.execute(statements.OWNER, identity).fetchone()
            found = None if row is None else sqlite_links.family(self._database.read, row[0])
        return None if found is None else found.customer_id

    async def read(self, customer_id: str, before: int | None) -> Profile | None:
        """Return what was recorded before a time."""
        end = _END_OF_TIME if before is None else before
        read = self._database.read
        with _translating():
            if (family := sqlite_links.family(read, customer_id)) is None:
                return None
            attributes = [
                row
                for member in preferred(family)
                for row in read.execute(statements.ATTRIBUTES, (member, end)).fetchall()
            ]
            with sqlite.parsing(self._database.path):
                return Profile(
                    customer_id=family.customer_id,
                    members=family.members,
                    version=family.version,
                    attributes=_newest(attributes),
                    consents=consenting.newest(self._said(read, family.members, end)),
                )

    async def link(self, linking: Linking) -> Linked:
        """Put a link or an unlink on file, in one transaction."""

        def write(connection: sqlite3.Connection) -> Linked:
            return sqlite_links.put(
                connection,
                linking,
                lambda members: self._said(connection, members),
                lambda strict: connection.execute(statements.INSERT_CONSENTS, _json(map(_row, strict))),
            )

        return await self._write(write)

    async def links(self, customer_id: str) -> list[LinkRecord]:
        """Return every act that a customer had a part in."""
        with _translating():
            family = sqlite_links.family(self._database.read, customer_id)
            return [] if family is None else sqlite_links.related(self._database.read, family.members)

    async def consents_of(self, customer_id: str) -> list[Consent]:
        """Return every consent of a customer."""
        with _translating(), sqlite.parsing(self._database.path):
            family = sqlite_links.family(self._database.read, customer_id)
            return [] if family is None else self._said(self._database.read, family.members)

    def _said(
        self, connection: sqlite3.Connection, members: Sequence[str], end: int = _END_OF_TIME
    ) -> list[Consent]:
        rows = connection.execute(statements.CONSENTS, (json.dumps(members), end)).fetchall()
        return [Consent(statement=_statement(row), record_time=row[-1]) for row in rows]

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


def _known(connection: sqlite3.Connection, statement: str, asked: Iterable[Any]) -> list[Any]:
    found: list[Any] = json.loads(connection.execute(statement, _json(asked)).fetchone()[0])
    return found


def _json(items: Iterable[Any]) -> tuple[str]:
    return (json.dumps(list(items), ensure_ascii=False),)


def _row(consent: Consent) -> tuple[Any, ...]:
    said = consent.statement
    return (
        said.receipt_id,
        said.customer_id,
        said.purpose,
        said.channel,
        said.state,
        said.stated_time,
        said.expire_time,
        said.source,
        consent.record_time,
    )


def _newest(rows: Iterable[Any]) -> dict[str, Attribute]:
    """Return the newest value of each attribute, of equal times the first; nulls are left out."""
    found: dict[str, tuple[int, str, str]] = {}
    for name, text, source, record_time in rows:
        if name not in found or record_time > found[name][0]:
            found[name] = record_time, text, source
    return {
        name: Attribute(value, record_time, source)
        for name, (record_time, text, source) in found.items()
        if (value := json.loads(text)) is not None
    }


def _statement(row: Sequence[Any]) -> Statement:
    receipt_id, customer_id, purpose, channel, state, stated_time, expire_time, source = row[:8]
    return Statement(
        receipt_id=receipt_id,
        customer_id=customer_id,
        purpose=purpose,
        channel=channel,
        state=State(state),
        stated_time=stated_time,
        expire_time=expire_time,
        source=source,
    )
