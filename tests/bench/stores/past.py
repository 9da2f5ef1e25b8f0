"""A short past of very many customers, made fast."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from services.engine.moments import Moment
from services.engine.playbook.playbook import Playbook
from services.features.domain.events import Event, IncomingEvent, check

DAYS = 88
_SEED = 13
_DAY = 86_400_000_000
# The same few attributes again and again: it is their size that counts.
_KINDS = 100


def customer_id(number: int) -> str:
    """Name a customer."""
    return f"customer-{number:07}"


def events(playbook: Playbook, customers: int, each: int, now: int) -> Iterator[Event]:
    """Tell what happened to customers in the last 88 days: of every one the first event, then the second.

    So the events of one lie apart in a store, as they do where they come one by one.
    """
    draw = random.Random(_SEED)
    kinds = [_checked(playbook, kind, attributes, now) for kind, attributes in _drawn(playbook, draw)]
    for number in range(each):
        for customer in range(customers):
            kind, attributes = draw.choice(kinds)
            yield Event(
                event_id=f"event-{customer:07}-{number}",
                customer_id=customer_id(customer),
                type=kind,
                event_time=now - draw.randrange(_DAY, DAYS * _DAY),
                attributes=attributes,
            )


def _drawn(playbook: Playbook, draw: random.Random) -> Iterator[tuple[str, Mapping[str, Any]]]:
    actions = sorted(playbook.actions)
    categories = sorted({str(action.attributes["category"]) for action in playbook.actions.values()})
    for _ in range(_KINDS):
        yield (
            "purchase",
            {
                "amount": draw.randrange(100, 20_000) / 100,
                "quantity": draw.randrange(1, 6),
                "category": draw.choice(categories),
                "channel": draw.choice(("app", "web", "shop")),
                "discounted": draw.random() < 0.3,
            },
        )
        yield "visit", {"section": draw.choice(categories)}
        yield "offer_sent", {"action": draw.choice(actions)}
        yield "offer_taken", {"action": draw.choice(actions)}


def _checked(playbook: Playbook, kind: str, attributes: Mapping[str, Any], now: int) -> tuple[str, str]:
    incoming = IncomingEvent(
        event_id="any",
        customer_id="any",
        type=kind,
        event_time=Moment(now // 1_000_000, 0),
        attributes=attributes,
    )
    found = check(incoming, playbook, now)
    assert isinstance(found, Event), found
    return kind, found.attributes
