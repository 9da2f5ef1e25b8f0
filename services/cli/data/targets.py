"""Stores that rows are put into, whole batches in transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final, Protocol

from services.chassis import postgres_tables, sqlite_tables
from services.chassis.postgres import Connection, Postgres
from services.chassis.sqlite import Database
from services.chassis.tables import Row, Table, tombstone
from services.cli.data.parts import Part, Settings
from services.features.adapters.store_lock import exclusive

# Of rows that a store erased after the archive was made, whose they are.
_ERASED_IN_SQLITE: Final = """
    SELECT customer_hash FROM erasures
    WHERE customer_hash IN (SELECT value FROM json_each(?)) AND erase_time >= ?
"""
_ERASED_IN_POSTGRES: Final = (
    "SELECT customer_hash FROM erasures WHERE customer_hash = ANY(%s) AND erase_time >= %s"
)
# An erasure that has begun is over before the batch begins, and one that begins finds its rows.
_LOCK_ERASURES: Final = "LOCK TABLE erasures IN SHARE MODE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """What became of a batch; the rest was there already and the same."""

    new: int
    erased: int


class Target(Protocol):
    """A store that takes rows."""

    async def put(self, table: Table, rows: Sequence[Row], since: int) -> Put:
        """Put rows in, but for those of customers erased from ``since`` on, in microseconds since 1970.

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

    async def put(self, table: Table, rows: Sequence[Row], since: int) -> Put:
        """Put rows in."""

        def write(connection: sqlite3.Connection) -> Put:
            asked = (json.dumps(sorted(_hashes(table, rows))), since)
            erased = {found for (found,) in connection.execute(_ERASED_IN_SQLITE, asked)}
            kept = _without(table, rows, erased)
            new = sqlite_tables.restore(connection, table, kept)
            if new and (noting := self._part.noting.get(table.name)):
                noting.in_sqlite(connection, _owners(table, kept))
            return Put(new=new, erased=len(rows) - len(kept))

        return await self._database.write(write)


class _PostgresTarget:
    """Implements ``Target``."""

    def __init__(self, part: Part, postgres: Postgres) -> None:
        self._part = part
        self._postgres = postgres

    async def put(self, table: Table, rows: Sequence[Row], since: int) -> Put:
        """Put rows in."""

        async def write(connection: Connection) -> Put:
            if self._part.alone:
                await self._part.alone(connection)
            await connection.execute(_LOCK_ERASURES)
            asked = (sorted(_hashes(table, rows)), since)
            found = await connection.execute(_ERASED_IN_POSTGRES, asked)
            kept = _without(table, rows, {one for (one,) in await found.fetchall()})
            new = await postgres_tables.restore(connection, table, kept)
            if new and (noting := self._part.noting.get(table.name)):
                await noting.in_postgres(connection, _owners(table, kept))
            return Put(new=new, erased=len(rows) - len(kept))

        return await self._postgres.write(write)


def _owners(table: Table, rows: Sequence[Row]) -> set[str]:
    places = [table.columns.index(column) for column in table.owners]
    return {row[place] for row in rows for place in places if row[place]}


def _hashes(table: Table, rows: Sequence[Row]) -> set[str]:
    return set(map(tombstone, _owners(table, rows)))


def _without(table: Table, rows: Sequence[Row], erased: set[str]) -> list[Row]:
    if not erased:
        return list(rows)
    return [row for row in rows if not _hashes(table, [row]) & erased]
