"""``count``: how many events a window holds."""

from __future__ import annotations

from services.engine.features.history import Series
from services.engine.playbook.kinds import Count
from services.engine.playbook.playbook import Playbook


def compute(definition: Count, playbook: Playbook, series: Series, as_of: int) -> float:
    """Count the events; 0 where there are none."""
    start, end = series.bounds(as_of, definition.window)
    return float(end - start)
