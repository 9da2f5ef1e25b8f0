"""``sum``: an amount over a window, exact in the attribute's decimal scale."""

from __future__ import annotations

from services.engine.features.history import Series
from services.engine.playbook.kinds import Sum
from services.engine.playbook.playbook import Playbook


def compute(definition: Sum, playbook: Playbook, series: Series, as_of: int) -> float:
    """Add as integers and divide once; 0 where there are no events."""
    units = playbook.units(definition.event, definition.attribute)
    return series.total(definition.attribute, units, *series.bounds(as_of, definition.window)) / units
