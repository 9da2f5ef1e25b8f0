"""``mean``: the average amount over a window."""

from __future__ import annotations

import math

from services.engine.features.history import Series
from services.engine.playbook.kinds import Mean
from services.engine.playbook.playbook import Playbook


def compute(definition: Mean, playbook: Playbook, series: Series, as_of: int) -> float:
    """Average over the events that carry a number; NaN where none does."""
    valued = series.counted(definition.attribute)
    start, end = valued.bounds(as_of, definition.window)
    if start == end:
        return math.nan
    units = playbook.units(definition.event, definition.attribute)
    return valued.total(definition.attribute, units, start, end) / (units * (end - start))
