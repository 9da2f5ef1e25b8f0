"""``max``: the largest value in a window."""

from __future__ import annotations

import math

from services.engine.features.history import Series
from services.engine.playbook.kinds import Max
from services.engine.playbook.playbook import Playbook


def compute(definition: Max, playbook: Playbook, series: Series, as_of: int) -> float:
    """Return the largest value; NaN where there is none."""
    declared = playbook.events.events[definition.event].attributes[definition.attribute]
    bounds = series.bounds(as_of, definition.window)
    return max(series.numbers(definition.attribute, declared, *bounds), default=math.nan)
