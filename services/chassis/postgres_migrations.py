"""How a PostgreSQL database is brought up to date."""

import asyncio
from collections.abc import Sequence
from typing import Final
from zlib import crc32

from services.chassis.postgres_connection import Connection, cutting, naming
from services.chassis.stores import StoreUnavailable

_SECONDS: Final = 5.0
_BEGIN: Final = """
    BEGIN ISOLATION LEVEL READ COMMITTED;
    SET LOCAL statement_timeout = 0;
    SET LOCAL lock_timeout = 0;
    SET LOCAL search_path TO DEFAULT
"""
# Of all services, as what several of them have seen is in one table.
_LOCK: Final = crc32(b"tact migrations")
_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS tact_migrations (
        schema TEXT COLLATE "C" PRIMARY KEY,
        version INTEGER NOT NULL
    )
"""
_RECORD: Final = """
    INSERT INTO tact_migrations VALUES (%s, %s)
    ON CONFLICT (schema) DO UPDATE SET version = excluded.version
"""


async def migrate(connection: Connection, name: str, schema: str, migrations: Sequence[str]) -> None:
    """Apply the migrations that the database has not seen, each in a transaction of its own.

    Of several processes that start at once, one applies and the others wait for it, however long it takes.

    Raises:
        StoreUnavailable: the database has seen more migrations than there are.
    """
    while (seen := await schema_version(connection, schema)) != len(migrations):
        if seen > len(migrations):
            raise StoreUnavailable(
                f"{name} has version {seen} of the schema {schema}, this program knows {len(migrations)}: "
                "a newer version wrote it"
            )
        await connection.execute(_BEGIN)
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(_TABLE)
        # Another process may have been faster while this one waited for the lock.
        if await _seen(connection, schema) == seen:
            await connection.execute(naming(schema, is_local=True))
            await connection.execute(migrations[seen])
            await connection.execute(_RECORD, (schema, seen + 1))
        await connection.execute("COMMIT")


async def schema_version(connection: Connection, schema: str) -> int:
    """Return how many migrations a database has seen of a schema; only outside of a transaction."""
    with cutting(connection, asyncio.get_running_loop().time() + _SECONDS):
        # Only outside of a transaction, which keeps to what it found for as long as it finds nothing.
        known = await connection.execute("SELECT to_regclass('tact_migrations') IS NOT NULL")
        return await _seen(connection, schema) if await known.fetchone() == (True,) else 0


async def _seen(connection: Connection, schema: str) -> int:
    found = await connection.execute("SELECT version FROM tact_migrations WHERE schema = %s", (schema,))
    return int(row[0]) if (row := await found.fetchone()) else 0
