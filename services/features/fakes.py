"""Stores for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from services.chassis.tables import Key, Page, Row, Table, exported
from services.engine.features.history import StoredEvent
from services.features.adapters.tables import TABLES
from services.features.domain.events import Event
from services.features.domain.placement import place
from services.features.domain.states import State, Version, is_above
from services.features.ports import Appended, Described, Erased, Versions, Want


class InMemoryEvents:
    """Implements ``EventStore``; raises ``failure`` instead while it is set."""

    def __init__(self) -> None:
        self.events: dict[int, Event] = {}
        self.sequence = 0
        self.changes: dict[str, int] = {}
        self.failure: Exception | None = None

    async def store_id(self) -> str:
        """Return what tells this store from every other."""
        return str(id(self))

    async def append(self, events: Sequence[Event]) -> Appended:
        """Store the events that are new."""
        self._fail()
        known = {event.event_id: (sequence, event) for sequence, event in self.events.items()}
        placements = place(events, known, self.sequence)
        self.events.update(placements.fresh)
        self.sequence = placements.newest
        return Appended(placements.answers, placements.newest)

    async def versions(self, customer_ids: Sequence[str]) -> Versions:
        """Return what is held of customer ids."""
        self._fail()
        found = [
            Version(
                self.changes.get(customer_id, 0),
                max((n for n, event in self.events.items() if event.customer_id == customer_id), default=0),
            )
            for customer_id in customer_ids
        ]
        return Versions(found, self.sequence)

    async def load(self, wants: Sequence[Want]) -> list[list[StoredEvent]]:
        """Return the events that each asks for."""
        self._fail()
        return [
            [
                StoredEvent(
                    event_id=event.event_id,
                    type=event.type,
                    event_time=event.event_time,
                    attributes=json.loads(event.attributes),
                )
                for sequence, event in self.events.items()
                if event.customer_id == want.customer_id
                and want.after < sequence <= want.until
                and is_above(want.floors, event.type, event.event_time)
            ]
            for want in wants
        ]

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return rows of customer ids."""
        self._fail()

        async def fetch(table: Table, after: Key | None, limit: int) -> list[Row]:
            owned = [
                (sequence, e.event_id, e.customer_id, e.type, e.event_time, e.attributes)
                for sequence, e in sorted(self.events.items())
                if e.customer_id in customer_ids and table.owners
            ]
            return [row for row in owned if after is None or table.key_of(row) > after][:limit]

        return await exported(fetch, TABLES, page_token)

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], int]) -> Erased:
        """Delete all events of customer ids."""
        self._fail()
        kept = {n: event for n, event in self.events.items() if event.customer_id not in customer_ids}
        erased = len(self.events) - len(kept)
        self.events = kept
        self.sequence += 1
        self.changes.update(dict.fromkeys(customer_ids, self.sequence))
        return Erased(
            rows={table.name: erased if table.owners else 0 for table in TABLES}, sequence=self.sequence
        )

    async def newest(self) -> int:
        """Return the newest sequence."""
        self._fail()
        return self.sequence

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class NoState:
    """Implements ``StateStore``: holds nothing."""

    async def get(self, customer_ids: Sequence[str]) -> list[State | None]:
        """Return None for each."""
        return [None] * len(customer_ids)

    async def put(self, states: Mapping[str, State]) -> None:
        """Hold nothing."""

    async def forget(self, customer_ids: Sequence[str], change: int) -> None:
        """Have nothing to forget."""

    async def describe(self) -> Described:
        """Tell that nothing is held."""
        return Described(kind="none")
