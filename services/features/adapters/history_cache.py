"""Parsed histories of the customers that were asked for last."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from services.engine.features.history import History
from services.features.metrics import FeatureMetrics


class _Entry(NamedTuple):
    history: History
    sequence: int
    events: int


class HistoryCache:
    """Keeps histories until together they hold more than ``most_events``, oldest use first out.

    A customer is named by all its members, so that one who is linked or unlinked is another.

    An entry is only ever returned for the very sequence that it was made for, so that it never
    needs to be invalidated.
    """

    def __init__(self, most_events: int, metrics: FeatureMetrics) -> None:
        self._most_events = most_events
        self._metrics = metrics
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._events = 0

    def get(self, members: str, sequence: int) -> History | None:
        """Return the history of a customer whose newest event has ``sequence``, if it is here."""
        entry = self._entries.get(members)
        if entry is None or entry.sequence != sequence:
            self._metrics.histories.labels("store").inc()
            return None
        self._entries.move_to_end(members)
        self._metrics.histories.labels("cache").inc()
        return entry.history

    def put(self, members: str, sequence: int, history: History, events: int) -> None:
        """Keep a history, unless it is larger than the whole cache."""
        self._drop(self._entries.pop(members, None))
        if events > self._most_events:
            return
        self._entries[members] = _Entry(history, sequence, events)
        self._events += events
        while self._events > self._most_events:
            self._drop(self._entries.popitem(last=False)[1])
        self._metrics.cached_customers.set(len(self._entries))
        self._metrics.cached_events.set(self._events)

    def _drop(self, entry: _Entry | None) -> None:
        if entry is not None:
            self._events -= entry.events
