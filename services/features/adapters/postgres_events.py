"""Events in PostgreSQL: one database for every process of the feature service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.chassis import postgres_tables
from services.chassis.gathering import Gathering
from services.chassis.postgres import Connection, Postgres, WriteQueueFull, parsing
from services.chassis.postgres import StoreUnavailable as Unavailable
from services.chassis.tables import Key, Page, Row, Table, exported, tombstone
from services.engine.features.history import StoredEvent
from services.features.adapters.event_rows import known_events, parsed
from services.features.adapters.tables import EVERYBODY, TABLES
from services.features.domain.events import Event
from services.features.domain.placement import Placement, place
from services.features.domain.states import Version
from services.features.ports import Appended, Erased, StoreOverloaded, StoreUnavailable, Versions, Want

MIGRATIONS: Final = Path(__file__).parents[1] / "migrations" / "postgresql"
_MOST_TOGETHER: Final = 10_000

_STORE: Final = "SELECT store_id FROM store"
_NEWEST: Final = "SELECT newest FROM counter"
_LOCK: Final = "SELECT newest FROM counter FOR UPDATE"
_COUNT: Final = "UPDATE counter SET newest = %s"
_KNOWN: Final = """
    SELECT event_id, sequence, customer_id, type, event_time, attributes FROM events WHERE event_id = ANY(%s)
"""
_INSERT: Final = """
    INSERT INTO events
    SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[])
"""
_VERSIONS: Final = """
    SELECT counter.newest,
           greatest(coalesce(everybody.sequence, 0), coalesce(own.sequence, 0)),
           coalesce((SELECT max(events.sequence) FROM events WHERE customer_id = asked.id), 0)
    FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS asked(id, hash, place)
    CROSS JOIN counter
    LEFT JOIN changes AS everybody ON everybody.customer_hash = ''
    LEFT JOIN changes AS own ON own.customer_hash = asked.hash
    ORDER BY asked.place
"""
_EVENTS: Final = """
    SELECT asked.place, event_id, type, event_time, attributes
    FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::jsonb[])
        WITH ORDINALITY AS asked(id, after, until, floors, place)
    JOIN events ON customer_id = asked.id AND sequence > asked.after AND sequence <= asked.until
        AND event_time >= (asked.floors ->> type)::bigint
"""
_CHANGE: Final = """
    INSERT INTO changes SELECT unnest(%s::text[]), %s
    ON CONFLICT (customer_hash) DO UPDATE SET sequence = excluded.sequence
"""
_LOCK_ERASURES: Final = "LOCK TABLE erasures IN ROW EXCLUSIVE MODE"
_ERASURE: Final = """
    INSERT INTO erasures SELECT unnest(%s::text[]), %s
    ON CONFLICT (customer_hash) DO UPDATE SET erase_time = greatest(erasures.erase_time, excluded.erase_time)
"""


class PostgresEvents:
    """Implements ``EventStore`` on one database, which other processes may share.

    Sequences are given under one lock, which is held until they are committed: who reads a sequence sees
    all smaller ones. Calls that wait for it in one process share its transaction.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._appending = Gathering(self._append, most=_MOST_TOGETHER, most_waiting=postgres.queue_limit)

    @property
    def queue_depth(self) -> int:
        """How many calls wait for their turn to write, or for a connection."""
        return self._appending.depth + self._postgres.queue_depth

    async def store_id(self) -> str:
        """Return what tells this store from every other."""

        async def read(connection: Connection) -> str:
            return str(await _one(connection, _STORE))

        with _translating():
            return await self._postgres.read(read)

    async def append(self, events: Sequence[Event]) -> Appended:
        """Store the events that are new, in one transaction."""
        if not events:
            return Appended((), await self.newest())
        with _translating():
            answers, newest = await self._appending.add(events)
        return Appended(answers, newest)

    async def versions(self, customer_ids: Sequence[str]) -> Versions:
        """Return what the database holds of customer ids."""
        asked = (list(customer_ids), list(map(tombstone, customer_ids)))

        async def read(connection: Connection) -> list[Row]:
            return await (await connection.execute(_VERSIONS, asked)).fetchall()

        with _translating():
            rows = await self._postgres.read(read)
        if not rows:
            return Versions([], await self.newest())
        return Versions([Version(change, sequence) for _, change, sequence in rows], rows[0][0])

    async def load(self, wants: Sequence[Want]) -> list[list[StoredEvent]]:
        """Return the events that each asks for."""
        asked = (
            [want.customer_id for want in wants],
            [want.after for want in wants],
            [want.until for want in wants],
            [json.dumps(want.floors) for want in wants],
        )

        async def read(connection: Connection) -> list[Row]:
            return await (await connection.execute(_EVENTS, asked)).fetchall()

        with _translating():
            rows = await self._postgres.read(read)
            found: list[list[Row]] = [[] for _ in wants]
            for place_, *row in rows:
                found[place_ - 1].append(tuple(row))
            loaded: list[list[StoredEvent]] = []
            for part in found:
                if loaded:
                    await asyncio.sleep(0)
                with parsing(self._postgres.name):
                    loaded.append(parsed(part))
        return loaded

    async def newest(self) -> int:
        """Return the newest sequence."""

        async def read(connection: Connection) -> int:
            return await _one(connection, _NEWEST)

        with _translating():
            return await self._postgres.read(read)

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return rows of customer ids."""

        async def fetch(table: Table, after: Key | None, limit: int) -> list[Row]:
            return await self._postgres.read(
                lambda connection: postgres_tables.page(connection, table, customer_ids, after, limit)
            )

        with _translating():
            return await exported(fetch, TABLES, page_token)

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], int]) -> Erased:
        """Delete all events of customer ids, in one transaction."""
        hashes = list(map(tombstone, dict.fromkeys(customer_ids)))

        async def write(connection: Connection) -> Erased:
            # An import that has begun is over before, and one that begins later finds the erasure.
            await connection.execute(_LOCK_ERASURES)
            # So is what is being appended.
            sequence = await _change(connection, hashes)
            erase_time = now()
            erased = await postgres_tables.erase(connection, TABLES, customer_ids)
            await connection.execute(_ERASURE, (hashes, erase_time))
            return Erased(rows=erased, sequence=sequence)

        with _translating():
            return await self._postgres.write(write)

    async def _append(self, events: Sequence[Event]) -> tuple[Sequence[Placement], int]:
        async def write(connection: Connection) -> tuple[Sequence[Placement], int]:
            newest = await _one(connection, _LOCK)
            ids = [event.event_id for event in events]
            known = await (await connection.execute(_KNOWN, (ids,))).fetchall()
            placements = place(events, known_events(known), newest)
            if fresh := placements.fresh:
                columns = (
                    list(fresh),
                    [event.event_id for event in fresh.values()],
                    [event.customer_id for event in fresh.values()],
                    [event.type for event in fresh.values()],
                    [event.event_time for event in fresh.values()],
                    [event.attributes for event in fresh.values()],
                )
                await connection.execute(_INSERT, columns)
                await connection.execute(_COUNT, (placements.newest,))
            return placements.answers, placements.newest

        return await self._postgres.write(write)


async def note_import(connection: Connection) -> None:
    """Say that rows were put back, in the transaction that does so, so that no state outlives it."""
    await _change(connection, [EVERYBODY])


async def _change(connection: Connection, hashes: Sequence[str]) -> int:
    sequence = await _one(connection, _LOCK) + 1
    await connection.execute(_COUNT, (sequence,))
    await connection.execute(_CHANGE, (list(hashes), sequence))
    return sequence


async def _one(connection: Connection, statement: str) -> int:
    row = await (await connection.execute(statement)).fetchone()
    if row is None:
        raise Unavailable("PostgreSQL: a row that every event store has is gone")
    found: int = row[0]
    return found


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise StoreUnavailable(f"the event store cannot be used: {error}") from error
    except WriteQueueFull as error:
        raise StoreOverloaded("the queue to the event store is full") from error
