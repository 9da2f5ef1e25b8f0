"""``min``: the smallest value in a window."""

from __future__ import annotations

import math

from services.engine.features.history import Series
from services.engine.playbook.kinds import Min
from services.engine.playbook.playbook import Playbook


def compute(definition: Min, playbook: Playbook, series: Series, as_of: int) -> float:
    """Return the smallest value; NaN where there is none."""
    declared = playbook.events.events[definition.event].attributes[definition.attribute]
    bounds = series.bounds(as_of, definition.window)
    return min(series.numbers(definition.attribute, declared, *bounds), default=math.nan)
