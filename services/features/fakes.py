"""Stores for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence

from services.engine.features.history import History, StoredEvent
from services.features.domain.events import Event
from services.features.domain.placement import place
from services.features.ports import Appended, Snapshot


class InMemoryEvents:
    """Implements ``EventStore``; raises ``failure`` instead while it is set."""

    def __init__(self) -> None:
        self.events: dict[int, Event] = {}
        self.failure: Exception | None = None

    async def append(self, events: Sequence[Event]) -> Appended:
        """Store the events that are new."""
        self._fail()
        known = {event.event_id: (sequence, event) for sequence, event in self.events.items()}
        placements = place(events, known, len(self.events))
        self.events.update(placements.fresh)
        return Appended(placements.answers, placements.newest)

    async def snapshot(self, *members: str) -> Snapshot:
        """Return what happened to a customer."""
        self._fail()
        found = [
            StoredEvent(
                event_id=event.event_id,
                type=event.type,
                event_time=event.event_time,
                attributes=json.loads(event.attributes),
            )
            for event in self.events.values()
            if event.customer_id in members
        ]
        return Snapshot(History(found), len(self.events))

    async def newest(self) -> int:
        """Return the newest sequence."""
        self._fail()
        return len(self.events)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
