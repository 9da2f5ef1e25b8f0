"""Stores as they are at one moment, read while services go on writing."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Final, Protocol

import psycopg

from services.chassis import postgres_tables, sqlite_tables
from services.chassis.postgres_connection import Connection, connect, end, store_name, unavailable
from services.chassis.postgres_migrations import schema_version
from services.chassis.sqlite_file import Reader, connect_reader
from services.chassis.sqlite_file import schema_version as version_of_file
from services.chassis.stores import StoreUnavailable
from services.chassis.tables import Key, Row, Table
from services.cli.data.parts import Part, Settings
from services.cli.failure import Failure

_ROWS_AT_ONCE: Final = 100
# An export may wait for its disk.
_BEGIN: Final = """
    SET statement_timeout = 60000; SET idle_in_transaction_session_timeout = 600000;
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY
"""


class Snapshot(Protocol):
    """A store at the moment of the first page."""

    async def page(self, table: Table, after: Key | None, limit: int) -> list[Row]:
        """Return rows behind a key, in the order of the keys."""
        ...


async def rows(snapshot: Snapshot | None, part: Part) -> AsyncIterator[tuple[str, str]]:
    """Yield every row of a store, if there is one, as (table, JSON) in the order of tables and keys."""
    if snapshot is None:
        return
    for table in part.tables:
        after: Key | None = None
        while True:
            found = await snapshot.page(table, after, _ROWS_AT_ONCE)
            for row in found:
                yield table.name, table.encode(row)
                after = table.key_of(row)
            if len(found) < _ROWS_AT_ONCE:
                break


@asynccontextmanager
async def snapshot_of(part: Part, settings: Settings) -> AsyncIterator[Snapshot | None]:
    """Open the store that the settings name; None where it was never made.

    Raises:
        Failure: it is of another version of its schema, or cannot be read.
    """
    try:
        if url := settings.store_url:
            connection = await connect(url, part.name)
            try:
                seen = await schema_version(connection, part.name)
                if seen:
                    _check(store_name(url), part, seen, len(part.postgres_migrations))
                    await connection.execute(_BEGIN)
                yield _PostgresSnapshot(connection, store_name(url)) if seen else None
            except psycopg.Error as error:
                raise unavailable(store_name(url), error) from None
            finally:
                end(connection)
            return
        if not settings.file.is_file():
            yield None
            return
        with closing(connect_reader(settings.file)) as reader:
            _check(settings.file.name, part, version_of_file(reader), len(part.sqlite_migrations))
            reader.execute("BEGIN")
            yield _SqliteSnapshot(reader)
    except (StoreUnavailable, sqlite3.Error) as error:
        raise Failure(f"{part.name}: {error}") from None


def _check(store: str, part: Part, seen: int, known: int) -> None:
    if seen != known:
        what = "start the service once, which brings it up to date" if seen < known else "it is newer"
        raise Failure(
            f"{part.name}: {store} has schema version {seen}, this version of Tact knows {known}: {what}"
        )


class _SqliteSnapshot:
    """Implements ``Snapshot``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def page(self, table: Table, after: Key | None, limit: int) -> list[Row]:
        """Return rows behind a key."""
        return sqlite_tables.page(self._reader, table, None, after, limit)


class _PostgresSnapshot:
    """Implements ``Snapshot``."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def page(self, table: Table, after: Key | None, limit: int) -> list[Row]:
        """Return rows behind a key."""
        try:
            return await postgres_tables.page(self._connection, table, None, after, limit)
        except psycopg.Error as error:
            raise unavailable(self._name, error) from None
