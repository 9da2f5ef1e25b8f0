"""``recency``: days since the newest event."""

from __future__ import annotations

import math

from services.engine.features.history import Series
from services.engine.playbook.kinds import Recency
from services.engine.playbook.playbook import Playbook

_DAY = 86_400_000_000


def compute(definition: Recency, playbook: Playbook, series: Series, as_of: int) -> float:
    """Return the days from the newest event to ``as_of``; NaN where the window holds none."""
    start, end = series.bounds(as_of, definition.window)
    return math.nan if start == end else (as_of - series.times[end - 1]) / _DAY
