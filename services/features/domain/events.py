"""Events, before and after they are checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.engine import moments
from services.engine.playbook import values
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.values import Value
from services.engine.violations import (
    LONGEST_ID,
    MOST_ATTRIBUTES,
    Invalid,
    Violation,
    check_count,
    check_text,
    shorten,
    unknown,
)

_canonical = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingEvent:
    """An event as a caller sent it: nothing is checked."""

    event_id: str
    customer_id: str
    type: str
    event_time: moments.Moment | None
    attributes: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event that can be stored; ``is_same`` tells two of the same content.

    ``event_time`` is UTC microseconds since 1970, ``attributes`` JSON with sorted names.
    """

    event_id: str
    customer_id: str
    type: str
    event_time: int
    attributes: str


def check(incoming: IncomingEvent, playbook: Playbook, now: int) -> Event | Invalid:
    """Check an event against the contract and the playbook, and list all that is wrong with it."""
    violations: list[Violation] = []
    check_text("event_id", incoming.event_id, violations, least=1, most=LONGEST_ID)
    check_text("customer_id", incoming.customer_id, violations, least=1, most=LONGEST_ID)
    event_time = 0
    if incoming.event_time is None:
        violations.append(Violation("event_time", "must be set"))
    else:
        try:
            event_time = moments.past(incoming.event_time, now)
        except ValueError as error:
            violations.append(Violation("event_time", str(error)))
    known = playbook.events.events
    attributes: dict[str, Value] = {}
    if (declared := known.get(incoming.type)) is None:
        violations.append(Violation("type", unknown(incoming.type, known)))
    elif check_count("attributes", len(incoming.attributes), MOST_ATTRIBUTES, violations):
        for name, raw in incoming.attributes.items():
            try:
                attributes[name] = values.parse(declared.attributes[name], raw)
            except KeyError:
                description = unknown(name, declared.attributes)
                violations.append(Violation(f"attributes.{shorten(name)}", description))
            except ValueError as error:
                violations.append(Violation(f"attributes.{name}", str(error)))
    if violations:
        return Invalid(tuple(violations))
    return Event(
        event_id=incoming.event_id,
        customer_id=incoming.customer_id,
        type=incoming.type,
        event_time=event_time,
        attributes=_canonical(attributes),
    )


def is_same(event: Event, other: Event) -> bool:
    """Tell a repeat of an event, also where a number was written otherwise under an older playbook."""
    if event == other:
        return True
    return replace(event, attributes=other.attributes) == other and _kinds(event) == _kinds(other)


def _kinds(event: Event) -> dict[str, tuple[bool, Value]]:
    """Return values of which 3 and 3.0 are the same, and 1 and true are not."""
    return {name: (isinstance(value, bool), value) for name, value in json.loads(event.attributes).items()}
