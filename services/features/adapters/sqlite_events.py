"""Events in SQLite: one file, the source of truth for every read."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.chassis import sqlite, sqlite_tables
from services.chassis.tables import Key, Page, Row, Table, exported, tombstone
from services.engine.features.history import StoredEvent
from services.features.adapters.event_rows import known_events, parsed
from services.features.adapters.tables import EVERYBODY, TABLES
from services.features.domain.events import Event
from services.features.domain.placement import place
from services.features.domain.states import Version
from services.features.ports import Appended, Erased, StoreOverloaded, StoreUnavailable, Versions, Want

MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"

# Batches go in and come out as one JSON value of one statement. With a step for each event the writer
# thread would have to win the interpreter's lock back from the event loop once an event.
_INSERT: Final = """
    INSERT INTO events
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]')
    FROM json_each(?)
"""
_KNOWN: Final = """
    SELECT json_group_array(json_array(event_id, sequence, customer_id, type, event_time, attributes))
    FROM events WHERE event_id IN (SELECT value FROM json_each(?))
"""
_STORE: Final = "SELECT store_id FROM store"
_NEWEST: Final = "SELECT newest FROM counter"
_COUNT: Final = "UPDATE counter SET newest = ?"
_VERSIONS: Final = """
    SELECT (SELECT newest FROM counter),
           max(coalesce((SELECT sequence FROM changes WHERE customer_hash = ''), 0),
               coalesce((SELECT sequence FROM changes WHERE customer_hash = value ->> 1), 0)),
           coalesce((SELECT max(sequence) FROM events WHERE customer_id = value ->> 0), 0)
    FROM json_each(?)
"""
_EVENTS: Final = """
    SELECT event_id, type, event_time, attributes FROM events
    WHERE customer_id = ? AND sequence > ? AND sequence <= ? AND event_time >= json_extract(?, '$.' || type)
"""
_CHANGE: Final = """
    INSERT INTO changes VALUES (?, ?)
    ON CONFLICT (customer_hash) DO UPDATE SET sequence = excluded.sequence
"""
_ERASURE: Final = """
    INSERT INTO erasures VALUES (?, ?)
    ON CONFLICT (customer_hash) DO UPDATE SET erase_time = max(erase_time, excluded.erase_time)
"""


class SqliteEvents:
    """Implements ``EventStore``; each method reads one state of the file, or writes in one transaction."""

    def __init__(self, database: sqlite.Database) -> None:
        self._database = database

    async def store_id(self) -> str:
        """What tells this store from every other."""
        with _translating():
            found: str = self._database.read.execute(_STORE).fetchone()[0]
        return found

    async def append(self, events: Sequence[Event]) -> Appended:
        """Store the events that are new."""
        if not events:
            return Appended((), await self.newest())

        def write(connection: sqlite3.Connection) -> Appended:
            placements = place(events, _known(connection, events), connection.execute(_NEWEST).fetchone()[0])
            if placements.fresh:
                rows = [
                    (sequence, e.event_id, e.customer_id, e.type, e.event_time, e.attributes)
                    for sequence, e in placements.fresh.items()
                ]
                connection.execute(_INSERT, (json.dumps(rows, ensure_ascii=False),))
                connection.execute(_COUNT, (placements.newest,))
            return Appended(placements.answers, placements.newest)

        with _translating():
            return await self._database.write(write, durable=True)

    async def versions(self, customer_ids: Sequence[str]) -> Versions:
        """Return what the file holds of customer ids."""
        asked = json.dumps([(customer_id, tombstone(customer_id)) for customer_id in customer_ids])
        with _translating():
            rows = self._database.read.execute(_VERSIONS, (asked,)).fetchall()
        if not rows:
            return Versions([], await self.newest())
        return Versions([Version(change, sequence) for _, change, sequence in rows], rows[0][0])

    async def load(self, wants: Sequence[Want]) -> list[list[StoredEvent]]:
        """Return the events that each asks for; other calls run in between."""
        found: list[list[StoredEvent]] = []
        for want in wants:
            if found:
                await asyncio.sleep(0)
            found.append(self._load(want))
        return found

    async def newest(self) -> int:
        """Return the newest sequence."""
        with _translating():
            newest: int = self._database.read.execute(_NEWEST).fetchone()[0]
        return newest

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return rows of customer ids."""

        async def fetch(table: Table, after: Key | None, limit: int) -> list[Row]:
            with _translating():
                return sqlite_tables.page(self._database.read, table, customer_ids, after, limit)

        return await exported(fetch, TABLES, page_token)

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], int]) -> Erased:
        """Delete all events of customer ids."""

        def write(connection: sqlite3.Connection) -> Erased:
            erased = sqlite_tables.erase(connection, TABLES, customer_ids)
            hashes, erase_time = [tombstone(customer_id) for customer_id in customer_ids], now()
            connection.executemany(_ERASURE, [(hashed, erase_time) for hashed in hashes])
            return Erased(rows=erased, sequence=_change(connection, hashes))

        with _translating():
            return await self._database.write(write, durable=True)

    def _load(self, want: Want) -> list[StoredEvent]:
        with _translating():
            asked = (want.customer_id, want.after, want.until, json.dumps(want.floors))
            rows = self._database.read.execute(_EVENTS, asked).fetchall()
            with sqlite.parsing(self._database.path):
                return parsed(rows)


def note_import(connection: sqlite3.Connection) -> None:
    """Say that rows were put back, in the transaction that does so, so that no state outlives it."""
    _change(connection, [EVERYBODY])


def _known(connection: sqlite3.Connection, events: Sequence[Event]) -> dict[str, tuple[int, Event]]:
    ids = json.dumps([event.event_id for event in events], ensure_ascii=False)
    return known_events(json.loads(connection.execute(_KNOWN, (ids,)).fetchone()[0]))


def _change(connection: sqlite3.Connection, hashes: Iterable[str]) -> int:
    sequence: int = connection.execute(_NEWEST).fetchone()[0] + 1
    connection.execute(_COUNT, (sequence,))
    connection.executemany(_CHANGE, [(hashed, sequence) for hashed in hashes])
    return sequence


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except (sqlite.StoreUnavailable, sqlite3.Error) as error:
        raise StoreUnavailable(f"the event store cannot be used: {error}") from error
    except sqlite.WriteQueueFull as error:
        raise StoreOverloaded("the queue to the event store is full") from error
