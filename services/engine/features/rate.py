"""``rate``: events or an amount per day of a window."""

from __future__ import annotations

from datetime import timedelta

from services.engine.features.history import Series
from services.engine.playbook.kinds import Rate
from services.engine.playbook.playbook import Playbook

_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1) // _MICROSECOND


def compute(definition: Rate, playbook: Playbook, series: Series, as_of: int) -> float:
    """Add as integers and divide once, by the whole window; 0 where there are no events."""
    start, end = series.bounds(as_of, definition.window)
    length = definition.window // _MICROSECOND
    if definition.attribute is None:
        return (end - start) * _DAY / length
    units = playbook.units(definition.event, definition.attribute)
    return series.total(definition.attribute, units, start, end) * _DAY / (units * length)
