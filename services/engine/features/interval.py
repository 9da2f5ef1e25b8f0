"""``interval``: the usual time between events."""

from __future__ import annotations

import math

from services.engine.features.history import Series
from services.engine.playbook.kinds import Interval
from services.engine.playbook.playbook import Playbook

_DAY_MICROS = 86_400_000_000


def compute(definition: Interval, playbook: Playbook, series: Series, as_of: int) -> float:
    """Divide the time from the oldest to the newest event by the gaps between; NaN with less than two."""
    start, end = series.bounds(as_of, definition.window)
    if end - start < 2:
        return math.nan
    return (series.times[end - 1] - series.times[start]) / (_DAY_MICROS * (end - start - 1))
