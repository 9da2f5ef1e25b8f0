"""How long ago the newest event was that a number rests on, and whether that is too long."""

from __future__ import annotations

from datetime import timedelta

from services.engine.features.history import History, newest
from services.engine.playbook.kinds import EventDefinition

_MICROSECOND = timedelta(microseconds=1)


def age(definition: EventDefinition, history: History, as_of: int) -> int | None:
    """Return the microseconds since the newest event in the window; None where there is none."""
    own, *others = definition.event_types
    rests_on = [history.of(own).where(definition.where), *map(history.of, others)]
    last_time = newest(rests_on, as_of, definition.window)
    return None if last_time is None else as_of - last_time


def is_too_old(definition: EventDefinition, history: History, as_of: int) -> bool:
    """Tell whether a number has reached its ``max_age``; one that rests on no event never has."""
    if definition.max_age is None or (found := age(definition, history, as_of)) is None:
        return False
    return found >= definition.max_age // _MICROSECOND
