"""Events in SQLite: one file, the source of truth for every read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.chassis import sqlite
from services.engine.features.history import History, StoredEvent
from services.features.adapters.history_cache import HistoryCache
from services.features.domain.events import Event
from services.features.domain.placement import place
from services.features.ports import Appended, Snapshot, StoreOverloaded, StoreUnavailable

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
_NEWEST: Final = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)"
_NEWEST_BOTH: Final = """
    SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0),
           (SELECT max(sequence) FROM events WHERE customer_id IN (SELECT value FROM json_each(?)))
"""
_HISTORY: Final = """
    SELECT event_id, type, event_time, attributes FROM events
    WHERE customer_id IN (SELECT value FROM json_each(?)) AND sequence <= ?
"""


class SqliteEvents:
    """Implements ``EventStore``.

    A read asks the file for the customer's newest sequence and the store's in one statement, hence
    of one snapshot, and takes the parsed history from the cache only where it has that sequence.
    So nothing that was committed is ever missed, whoever committed it and however the call that
    did so ended.
    """

    def __init__(self, database: sqlite.Database, cache: HistoryCache) -> None:
        self._database = database
        self._cache = cache

    async def append(self, events: Sequence[Event]) -> Appended:
        """Store the events that are new, in one transaction."""
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
            return Appended(placements.answers, placements.newest)

        with self._translating():
            return await self._database.write(write, durable=True)

    async def snapshot(self, *members: str) -> Snapshot:
        """Return what happened to a customer."""
        asked = json.dumps(sorted(members))
        with self._translating():
            newest, own = self._database.read.execute(_NEWEST_BOTH, (asked,)).fetchone()
            if own is None:
                return Snapshot(History(()), newest)
            if (history := self._cache.get(asked, own)) is None:
                rows = self._database.read.execute(_HISTORY, (asked, own)).fetchall()
                with sqlite.parsing(self._database.path):
                    history = History(_events(rows))
                self._cache.put(asked, own, history, len(rows))
            return Snapshot(history, newest)

    async def newest(self) -> int:
        """Return the newest sequence."""
        with self._translating():
            newest: int = self._database.read.execute(_NEWEST).fetchone()[0]
        return newest

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (sqlite.StoreUnavailable, sqlite3.Error) as error:
            raise StoreUnavailable(f"the event store cannot be used: {error}") from error
        except sqlite.WriteQueueFull as error:
            raise StoreOverloaded("the queue to the event store is full") from error


def _known(connection: sqlite3.Connection, events: Sequence[Event]) -> dict[str, tuple[int, Event]]:
    ids = json.dumps([event.event_id for event in events], ensure_ascii=False)
    rows = json.loads(connection.execute(_KNOWN, (ids,)).fetchone()[0])
    return {
        event_id: (
            sequence,
            Event(
                event_id=event_id,
                customer_id=customer_id,
                type=event_type,
                event_time=event_time,
                attributes=attributes,
            ),
        )
        for event_id, sequence, customer_id, event_type, event_time, attributes in rows
    }


def _events(rows: Sequence[tuple[str, str, int, str]]) -> Iterator[StoredEvent]:
    parsed = json.loads(f"[{','.join(attributes for *_, attributes in rows)}]")
    for (event_id, event_type, event_time, _), attributes in zip(rows, parsed, strict=True):
        yield StoredEvent(event_id=event_id, type=event_type, event_time=event_time, attributes=attributes)
