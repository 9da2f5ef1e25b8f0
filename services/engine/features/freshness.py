"""How long ago the newest event was that a number rests on, and whether that is too long."""

from __future__ import annotations

from datetime import timedelta

from services.engine.features.history import History, newest
from services.engine.playbook.kinds import (
    Affinity,
    Distinct,
    EventDefinition,
    First,
    Last,
    Max,
    Mean,
    Min,
    Open,
)

_MICROSECOND = timedelta(microseconds=1)


def age(definition: EventDefinition, history: History, as_of: int) -> int | None:
    """Return the microseconds since the newest event in the window that the number rests on, or None."""
    own, *others = definition.event_types
    rests_on = [history.of(own).where(definition.where), *map(history.of, others)]
    if (attribute := _told_by(definition)) is not None:
        rests_on = [series.having(attribute) for series in rests_on]
    last_time = newest(rests_on, as_of, definition.window)
    return None if last_time is None else as_of - last_time


def _told_by(definition: EventDefinition) -> str | None:
    """Return the attribute without which an event tells a number nothing, None where each event counts."""
    match definition:
        case Mean() | Min() | Max() | First() | Last() | Distinct():
            return definition.attribute
        case Affinity():
            return definition.by
        case Open():
            return definition.key
        case _:
            return None


def is_too_old(definition: EventDefinition, history: History, as_of: int) -> bool:
    """Tell whether a number has reached its ``max_age``; one that rests on no event never has."""
    if definition.max_age is None or (found := age(definition, history, as_of)) is None:
        return False
    return found >= definition.max_age // _MICROSECOND
