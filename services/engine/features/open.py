"""``open``: for how long the oldest event has been waiting for one that closes it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from services.engine.features.history import ORDER, History, Series, StoredEvent
from services.engine.playbook.kinds import Open

_SECOND = 1_000_000


class Span(NamedTuple):
    """From an opening to what first closed it, in microseconds; ``closed`` is None while nothing has."""

    opened: int
    closed: int | None

    def is_open(self, as_of: int) -> bool:
        """Tell whether it was open at a time, what happened then left out."""
        return self.opened < as_of and (self.closed is None or self.closed >= as_of)


def compute(definition: Open, history: History, as_of: int) -> float:
    """Return the seconds since the oldest opening that is open; NaN where none is.

    It costs a few binary searches for each opening in the window that is older.
    """
    for span in spans(definition, history, as_of, definition.window):
        if span.is_open(as_of):
            return (as_of - span.opened) / _SECOND
    return math.nan


def spans(definition: Open, history: History, until: int, window: timedelta | None = None) -> Iterator[Span]:
    """Yield the openings in ``[until - window, until)``, the oldest first, each with all that is known.

    What closed an opening may lie at or after ``until``. Openings without a key are left out.
    """
    openings = history.of(definition.event).where(definition.where).having(definition.key)
    closings = [history.of(event).divided(definition.key) for event in definition.closed_by]
    start, end = openings.bounds(until, window)
    for opening in openings.events[start:end]:
        word = str(opening.attributes[definition.key])
        found = (_first_after(opening, parts[word]) for parts in closings if word in parts)
        closed = min((time for time in found if time is not None), default=None)
        yield Span(opening.event_time, closed)


def _first_after(opening: StoredEvent, series: Series) -> int | None:
    index = bisect_left(series.events, ORDER(opening), key=ORDER)
    return series.times[index] if index < len(series.times) else None
