"""``first``: the oldest value in a window."""

from __future__ import annotations

import math

from services.engine.features.history import Series
from services.engine.playbook import values
from services.engine.playbook.kinds import First
from services.engine.playbook.playbook import Playbook


def compute(definition: First, playbook: Playbook, series: Series, as_of: int) -> float:
    """Return the oldest value, of the smallest event id among equal times; NaN without one."""
    valued = series.having(definition.attribute)
    start, end = valued.bounds(as_of, definition.window)
    if start == end:
        return math.nan
    declared = playbook.events.events[definition.event].attributes[definition.attribute]
    return values.as_number(declared, valued.events[start].attributes[definition.attribute])
