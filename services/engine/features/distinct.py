"""``distinct``: how many different values an attribute takes in a window."""

from __future__ import annotations

from services.engine.features.history import Series
from services.engine.playbook.kinds import Distinct
from services.engine.playbook.playbook import Playbook


def compute(definition: Distinct, playbook: Playbook, series: Series, as_of: int) -> float:
    """Count different values; events without one do not count."""
    valued = series.having(definition.attribute)
    start, end = valued.bounds(as_of, definition.window)
    return float(len({event.attributes[definition.attribute] for event in valued.events[start:end]}))
