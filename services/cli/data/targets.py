"""Stores that rows are put into, whole batches in transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Protocol

from services.chassis import postgres_tables, sqlite_tables
from services.chassis.postgres import Connection, Postgres
from services.chassis.sqlite import Database
from services.chassis.stores import StoreUnavailable
from services.chassis.tables import Row, Table, tombstone
from services.cli.data.parts import Part, Settings
from services.features.adapters.store_lock import exclusive

# Of rows that a store erased after the archive was made, whose they are.
_ERASED_IN_SQLITE: Final = """
    SELECT customer_hash, erase_time FROM erasures
    WHERE customer_hash IN (SELECT value FROM json_each(?)) AND erase_time >= ?
"""
_ERASED_IN_POSTGRES: Final = (
    "SELECT customer_hash, erase_time FROM erasures WHERE customer_hash = ANY(%s) AND erase_time >= %s"
)
_ALL_ERASED_IN_SQLITE: Final = "SELECT customer_hash, erase_time FROM erasures WHERE erase_time >= ?"
_ALL_ERASED_IN_POSTGRES: Final = "SELECT customer_hash, erase_time FROM erasures WHERE erase_time >= %s"
_DECISIONS_IN_SQLITE: Final = """
    SELECT decision_id FROM erased_decisions WHERE decision_id IN (SELECT value FROM json_each(?))
"""
_DECISIONS_IN_POSTGRES: Final = "SELECT decision_id FROM erased_decisions WHERE decision_id = ANY(%s)"
_DECISION: Final = "decision_id"
# An erasure that has begun is over before the batch begins, and one that begins finds its rows.
_LOCK_ERASURES: Final = "LOCK TABLE erasures IN SHARE MODE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What must not go into the store of one service.

    ``times`` tell of each tombstone when it was erased last in any service, where that was from ``since`` on;
    ``known`` do so of those that the service's own part of the archive holds, whose rows are of somebody
    who came again. Times are microseconds since 1970. ``decisions`` are the ids of decisions that were
    left out, to which a target adds.
    """

    made_time: int
    since: int
    times: Mapping[str, int]
    known: Mapping[str, int]
    decisions: set[str] = field(default_factory=set)

    def among(self, hashes: Set[str], found: Mapping[str, int]) -> set[str]:
        """Return of which of these tombstones rows must not go in, by the times and those that are found."""
        return {
            one
            for times in (self.times, found)
            for one in hashes & times.keys()
            if self._is_out(one, times[one])
        }

    def _is_out(self, customer_hash: str, time: int) -> bool:
        if (known := self.known.get(customer_hash)) is None:
            return time >= self.since
        return time >= self.made_time and time > known


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """What became of a batch.

    Rows of erased customers and of erased decisions were left out, each counted once; the rest was there
    already and the same.
    """

    new: int
    of_customers: int
    of_decisions: int


class Target(Protocol):
    """A store that takes rows."""

    async def erased(self, since: int) -> dict[str, int]:
        """Return the tombstones of all whom the store erased from then on, and when.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        ...

    async def put(self, table: Table, rows: Sequence[Row], erased: Erased) -> Put:
        """Put rows in, but for those of who was erased, here too, and of decisions that were erased here.

        Raises:
            RowDiffers: another row stands in the place of one; nothing of the batch was put in.
            StoreUnavailable: the store cannot be written; whether the batch was put in is not known.
        """
        ...


@asynccontextmanager
async def target_of(part: Part, settings: Settings) -> AsyncIterator[Target]:
    """Open the store that the settings name, made or brought up to date where needed.

    Raises:
        StoreUnavailable: it cannot be opened, or is newer than this program.
    """
    if settings.store_url:
        async with Postgres.open(
            settings.store_url, part.postgres_migrations, schema=part.name, connections=1
        ) as postgres:
            yield _PostgresTarget(part, postgres)
    else:
        async with Database.open(settings.file, part.sqlite_migrations) as database:
            yield _SqliteTarget(part, database)


def alone(settings: Sequence[Settings]) -> AbstractContextManager[None]:
    """Keep a feature service from the folder of files, and refuse while one is there.

    Raises:
        StoreInUse: one is.
    """
    files = [one for one in settings if not one.store_url]
    return exclusive(files[0].home / "features.sqlite") if files else nullcontext()


class _SqliteTarget:
    """Implements ``Target``."""

    def __init__(self, part: Part, database: Database) -> None:
        self._part = part
        self._database = database

    async def erased(self, since: int) -> dict[str, int]:
        """Return the tombstones of all whom the store erased from then on, and when."""
        try:
            return dict(self._database.read.execute(_ALL_ERASED_IN_SQLITE, (since,)).fetchall())
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._part.name}: {error}") from None

    async def put(self, table: Table, rows: Sequence[Row], erased: Erased) -> Put:
        """Put rows in."""

        def write(connection: sqlite3.Connection) -> tuple[int, _Kept]:
            hashes = _hashes(table, rows)
            asked = (json.dumps(sorted(hashes)), erased.since)
            customers = erased.among(hashes, dict(connection.execute(_ERASED_IN_SQLITE, asked).fetchall()))
            decisions = set()
            if ids := _decisions(table, rows):
                found = connection.execute(_DECISIONS_IN_SQLITE, (json.dumps(sorted(ids)),))
                decisions = {one for (one,) in found}
            kept = _without(table, rows, customers, erased.decisions | decisions)
            new = sqlite_tables.restore(connection, table, kept.rows)
            if new and (noting := self._part.noting.get(table.name)):
                noting.in_sqlite(connection, _owners(table, kept.rows))
            return new, kept

        return _told(erased, *await self._database.write(write))


class _PostgresTarget:
    """Implements ``Target``."""

    def __init__(self, part: Part, postgres: Postgres) -> None:
        self._part = part
        self._postgres = postgres

    async def erased(self, since: int) -> dict[str, int]:
        """Return the tombstones of all whom the store erased from then on, and when."""

        async def read(connection: Connection) -> dict[str, int]:
            found = await connection.execute(_ALL_ERASED_IN_POSTGRES, (since,))
            return dict(await found.fetchall())

        return await self._postgres.read(read)

    async def put(self, table: Table, rows: Sequence[Row], erased: Erased) -> Put:
        """Put rows in."""

        async def write(connection: Connection) -> tuple[int, _Kept]:
            if self._part.alone:
                await self._part.alone(connection)
            await connection.execute(_LOCK_ERASURES)
            hashes = _hashes(table, rows)
            found = await connection.execute(_ERASED_IN_POSTGRES, (sorted(hashes), erased.since))
            customers = erased.among(hashes, dict(await found.fetchall()))
            decisions = set()
            if ids := _decisions(table, rows):
                found = await connection.execute(_DECISIONS_IN_POSTGRES, (sorted(ids),))
                decisions = {one for (one,) in await found.fetchall()}
            kept = _without(table, rows, customers, erased.decisions | decisions)
            new = await postgres_tables.restore(connection, table, kept.rows)
            if new and (noting := self._part.noting.get(table.name)):
                await noting.in_postgres(connection, _owners(table, kept.rows))
            return new, kept

        return _told(erased, *await self._postgres.write(write))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    rows: list[Row]
    of_customers: int
    of_decisions: int
    decisions: set[str]


def _owners(table: Table, rows: Sequence[Row]) -> set[str]:
    places = [table.columns.index(column) for column in table.owners]
    return {row[place] for row in rows for place in places if row[place]}


def _hashes(table: Table, rows: Sequence[Row]) -> set[str]:
    return set(map(tombstone, _owners(table, rows)))


def _decisions(table: Table, rows: Sequence[Row]) -> set[str]:
    """Return the decisions that rows are of, where these are somebody's."""
    if not table.owners or _DECISION not in table.columns:
        return set()
    place = table.columns.index(_DECISION)
    return {row[place] for row in rows}


def _without(table: Table, rows: Sequence[Row], customers: set[str], decisions: set[str]) -> _Kept:
    kept: list[Row] = []
    left: list[Row] = []
    of_customers = 0
    for row in rows:
        is_erased = bool(customers) and not customers.isdisjoint(_hashes(table, [row]))
        of_customers += is_erased
        is_left = is_erased or not decisions.isdisjoint(_decisions(table, [row]))
        (left if is_left else kept).append(row)
    # A row of an erased customer takes none of others with it, but for a decision, which they refer to.
    gone = _decisions(table, left) if table.key == (_DECISION,) else set()
    return _Kept(rows=kept, of_customers=of_customers, of_decisions=len(left) - of_customers, decisions=gone)


def _told(erased: Erased, new: int, kept: _Kept) -> Put:
    erased.decisions.update(kept.decisions)
    return Put(new=new, of_customers=kept.of_customers, of_decisions=kept.of_decisions)
