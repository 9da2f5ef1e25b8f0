"""``decayed``: a counter whose events count half as much after each half-life."""

from __future__ import annotations

import math
from datetime import timedelta

from services.engine.features.history import Series
from services.engine.playbook.kinds import Decayed
from services.engine.playbook.playbook import Playbook

_MICROSECOND = timedelta(microseconds=1)


def compute(definition: Decayed, playbook: Playbook, series: Series, as_of: int) -> float:
    """Add what is left of each event's amount; 0 where there are no events.

    The events are taken in (event time, event id) order, and their parts are added by ``math.fsum``,
    exactly and rounded once, so that no sum of past sums carries an error on. Each part is rounded by
    itself and falls to 0 after about 1,100 half-lives. It costs one step for each event in the window.
    """
    start, end = series.bounds(as_of, definition.window)
    half_life = definition.half_life // _MICROSECOND
    left = [2.0 ** ((time - as_of) / half_life) for time in series.times[start:end]]
    if definition.attribute is None:
        return math.fsum(left)
    units = playbook.units(definition.event, definition.attribute)
    amounts = series.amounts(definition.attribute, units, start, end)
    return math.fsum(amount * part for amount, part in zip(amounts, left, strict=True)) / units
