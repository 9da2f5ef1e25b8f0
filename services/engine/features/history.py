"""One customer's events, arranged so that a window costs two binary searches."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Final

from services.engine.playbook.schema.attributes import AttributeType
from services.engine.playbook.values import Value, as_number

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it was accepted; ``event_time`` is UTC microseconds since 1970."""

    event_id: str
    type: str
    event_time: int
    attributes: Mapping[str, Value]


def plain(attributes: object) -> Mapping[str, Value]:
    """Return the attributes of an event as a store gave them back.

    Raises:
        ValueError: they are none that were ever accepted.
    """
    if isinstance(attributes, dict) and all(map(_is_plain, attributes.values())):
        return attributes
    raise ValueError("no attributes of an event")


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


ORDER: Final[Callable[[StoredEvent], tuple[int, str]]] = attrgetter("event_time", "event_id")
"""What events are ordered by."""


class Series:
    """Events in (event time, event id) order; derived views are made once and kept."""

    __slots__ = ("_divided", "_sums", "_views", "events", "times")

    def __init__(self, events: list[StoredEvent]) -> None:
        self.events = events
        self.times = [event.event_time for event in events]
        # Most series never need one of these, and there are several series for each customer that is held.
        self._views: dict[object, Series | None] | None = None
        self._divided: dict[str, Mapping[str, Series]] | None = None
        self._sums: dict[tuple[str, int], list[int]] | None = None

    def bounds(self, as_of: int, window: timedelta | None) -> tuple[int, int]:
        """Return the index range of the events in ``[as_of - window, as_of)``."""
        end = bisect_left(self.times, as_of)
        if window is None:
            return 0, end
        return bisect_left(self.times, as_of - window // _MICROSECOND, 0, end), end

    def where(self, conditions: Mapping[str, Value]) -> Series:
        """Return the events whose attributes equal all the conditions."""
        if not conditions:
            return self
        wanted = tuple(conditions.items())
        return self._view(wanted, lambda e: all(e.attributes.get(name) == value for name, value in wanted))

    def having(self, attribute: str) -> Series:
        """Return the events that carry a value of ``attribute``."""
        return self._view(attribute, lambda e: attribute in e.attributes)

    def counted(self, attribute: str) -> Series:
        """Return the events whose ``attribute`` is a number."""
        return self._view((attribute, "counted"), lambda e: _is_number(e.attributes.get(attribute)))

    def divided(self, attribute: str) -> Mapping[str, Series]:
        """Return the events by the word that ``attribute`` holds; those without one are left out."""
        if self._divided is None:
            self._divided = {}
        if (parts := self._divided.get(attribute)) is None:
            events: dict[str, list[StoredEvent]] = {}
            for event in self.events:
                if (word := event.attributes.get(attribute)) is not None:
                    events.setdefault(str(word), []).append(event)
            parts = self._divided[attribute] = {word: Series(found) for word, found in events.items()}
        return parts

    def total(self, attribute: str, units: int, start: int, end: int) -> int:
        """Add an attribute over an index range, exactly, in smallest units; absent counts 0."""
        sums = self._running(attribute, units)
        return sums[end] - sums[start]

    def amounts(self, attribute: str, units: int, start: int, end: int) -> list[int]:
        """Return what ``total`` adds, event by event."""
        sums = self._running(attribute, units)
        return [after - before for before, after in pairwise(sums[start : end + 1])]

    def numbers(self, attribute: str, declared: AttributeType, start: int, end: int) -> list[float]:
        """Return the numbers that an attribute holds over an index range, without missing ones."""
        found = (e.attributes[attribute] for e in self.events[start:end] if attribute in e.attributes)
        return [number for value in found if not math.isnan(number := as_number(declared, value))]

    def _running(self, attribute: str, units: int) -> list[int]:
        if self._sums is None:
            self._sums = {}
        if (sums := self._sums.get((attribute, units))) is None:
            amounts = (_amount(e.attributes.get(attribute), units) for e in self.events)
            sums = self._sums[attribute, units] = list(accumulate(amounts, initial=0))
        return sums

    def _view(self, key: object, keep: Callable[[StoredEvent], bool]) -> Series:
        if self._views is None:
            self._views = {}
        if key not in self._views:
            kept = [event for event in self.events if keep(event)]
            # A series that held itself would be freed by a collection of garbage only.
            self._views[key] = None if len(kept) == len(self.events) else Series(kept)
        view = self._views[key]
        return self if view is None else view


class History:
    """All the events of one customer, by type."""

    __slots__ = ("_series",)

    def __init__(self, events: Iterable[StoredEvent]) -> None:
        by_type: dict[str, list[StoredEvent]] = {}
        for event in events:
            by_type.setdefault(event.type, []).append(event)
        self._series = {name: Series(sorted(found, key=ORDER)) for name, found in by_type.items()}

    def of(self, event_type: str) -> Series:
        """Return the events of a type; an empty series where there are none."""
        return self._series.get(event_type, _NONE)


_NONE = Series([])


def _is_number(value: Value | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _amount(value: Value | None, units: int) -> int:
    """Return an amount in smallest units; 0 for what is none, as an older declaration may have allowed."""
    return round(float(value) * units) if value is not None and _is_number(value) else 0


def newest(found: Iterable[Series], as_of: int, window: timedelta | None) -> int | None:
    """Return the time of the newest event in ``[as_of - window, as_of)``; None where there is none."""
    ends = ((series, *series.bounds(as_of, window)) for series in found)
    return max((series.times[end - 1] for series, start, end in ends if start < end), default=None)
