"""What a decision is asked for, and what makes a request wrong."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from services.engine import instants
from services.engine.playbook import values
from services.engine.playbook.errors import did_you_mean
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.values import Value
from services.engine.playbook.variables import CONTEXT_FIELDS
from services.engine.violations import LONGEST_ID, InvalidRequest, Violation, check_text

MOST_ACTIONS: Final = 100
LIVE_TOLERANCE: Final = timedelta(seconds=5)
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
REPEAT_WINDOW: Final = timedelta(hours=24)
MOST_NAMES: Final = 1_000

_MOST_SUGGESTIONS: Final = 20
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_DECISIONS: Final = uuid.UUID("8f0f5bb8-3f0e-5b7a-9d55-6c1f3c6f9a51")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerKey:
    """A customer id, or an identity that resolves to one."""

    customer_id: str = ""
    identity: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where and how the customer is right now; empty words are unknown."""

    placement: str = ""
    channel: str = ""
    device: str = ""
    intent: str = ""
    time_zone: str = ""
    conversation_id: str = ""
    country: str = ""
    region: str = ""
    latitude: float | None = None
    longitude: float | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts on the advice where that is not the customer; empty words are unknown."""

    id: str
    device: str = ""
    time_zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRequest:
    """One request; ``decision_time`` is now where absent, ``max_actions`` 0 means 1.

    ``is_repeatable`` where the caller gave the ``request_id``. ``customer`` is None where the
    caller names none; ``violations`` lists what the transport could not translate.
    """

    decision_id: str
    request_id: str
    is_repeatable: bool
    caller: str
    customer: CustomerKey | None
    context: Context
    max_actions: int
    action_ids: tuple[str, ...]
    groups: tuple[str, ...]
    live: bool
    include_explanation: bool
    decision_time: datetime | None
    min_sequence: int
    actor: Actor | None = None
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A request that holds, with what the check has settled."""

    request: DecisionRequest
    customer: CustomerKey
    decision_time: datetime
    limit: int
    context: Mapping[str, Value]
    zone: ZoneInfo | None
    actor_zone: ZoneInfo | None = None


def decision_id(caller: str, live: bool, request_id: str) -> str:
    """Derive the id of a decision: the same caller, mode and request id give the same decision."""
    name = "\n".join((str(len(caller)), caller, "live" if live else "dry_run", request_id))
    return str(uuid.uuid5(_DECISIONS, name))


def check(request: DecisionRequest, playbook: Playbook, now: datetime) -> Checked:
    """Check a request against the contract and the playbook.

    Raises:
        InvalidRequest: with every violation.
    """
    violations = list(request.violations)
    check_text("request_id", request.request_id, violations, least=0, most=LONGEST_ID)
    if request.customer is None:
        violations.append(Violation("customer", "must hold a customer_id or an identity"))
    else:
        _check_customer(request.customer, playbook, violations)
    if not 0 <= request.max_actions <= MOST_ACTIONS:
        violations.append(
            Violation("max_actions", f"must be between 0 and {MOST_ACTIONS}, not {request.max_actions}")
        )
    if request.min_sequence < 0:
        violations.append(Violation("min_sequence", "must not be negative"))
    for what, asked, known in (
        ("action_ids", request.action_ids, playbook.actions),
        ("groups", request.groups, playbook.catalogue.groups),
    ):
        if len(asked) > MOST_NAMES:
            violations.append(Violation(what, f"{len(asked)} names, at most {MOST_NAMES}"))
            continue
        for index, name in enumerate(asked):
            _check_name(f"{what}[{index}]", name, known, violations)
    decision_time = request.decision_time or now
    if not EARLIEST <= decision_time < LATEST:
        violations.append(Violation("decision_time", "must lie from 2000 to 2100"))
    elif request.live and abs(decision_time - now) > LIVE_TOLERANCE:
        violations.append(Violation("decision_time", "must lie within 5 s of now where mode is LIVE"))
    context = _check_context(request.context, playbook, violations)
    zone = _check_zone("context.time_zone", request.context.time_zone, violations)
    actor_zone = None
    if (actor := request.actor) is not None:
        check_text("actor.id", actor.id, violations, least=1, most=LONGEST_ID)
        check_text("actor.device", actor.device, violations, least=0, most=LONGEST_ID)
        actor_zone = _check_zone("actor.time_zone", actor.time_zone, violations)
    if violations or request.customer is None:
        raise InvalidRequest(*violations)
    return Checked(
        request=request,
        customer=request.customer,
        decision_time=decision_time,
        limit=request.max_actions or 1,
        context=context,
        zone=zone,
        actor_zone=actor_zone,
    )


def _check_zone(place: str, name: str, violations: list[Violation]) -> ZoneInfo | None:
    zone = instants.time_zone(name)
    if name and zone is None:
        violations.append(Violation(place, "is no IANA time zone"))
    return zone


def _check_customer(customer: CustomerKey, playbook: Playbook, violations: list[Violation]) -> None:
    if customer.identity is None:
        check_text("customer.customer_id", customer.customer_id, violations, least=1, most=LONGEST_ID)
        return
    kind, value = customer.identity
    _check_name("customer.identity.kind", kind, playbook.profile.identities, violations)
    check_text("customer.identity.value", value, violations, least=1, most=256)


def _check_context(context: Context, playbook: Playbook, violations: list[Violation]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name in CONTEXT_FIELDS:
        if not (word := getattr(context, name)):
            continue
        found[name] = word
        if name == "channel":
            _check_name("context.channel", word, playbook.head.channels, violations)
        else:
            where = "context.location" if name in ("country", "region") else "context"
            check_text(f"{where}.{name}", word, violations, least=0, most=LONGEST_ID)
    _check_location(context, found, violations)
    for name, raw in context.attributes.items():
        place = f"context.attributes[{name}]"
        if not _check_name(place, name, playbook.head.context, violations):
            continue
        try:
            found[name] = values.parse(playbook.head.context[name], raw)
        except ValueError as error:
            violations.append(Violation(place, str(error)))
    return found


def _check_location(context: Context, found: dict[str, Value], violations: list[Violation]) -> None:
    place = "context.location"
    if context.country and not _COUNTRY.fullmatch(context.country):
        violations.append(Violation(f"{place}.country", "must be two capital letters, as in ISO 3166"))
    if (context.latitude is None) != (context.longitude is None):
        violations.append(Violation(place, "latitude and longitude go together"))
    for name, value, most in (("latitude", context.latitude, 90.0), ("longitude", context.longitude, 180.0)):
        if value is None:
            continue
        found[name] = value
        if not abs(value) <= most:
            violations.append(Violation(f"{place}.{name}", f"must lie from -{most:g} to {most:g}"))


def _check_name(place: str, name: str, known: Mapping[str, object], violations: list[Violation]) -> bool:
    if name in known:
        return True
    # Looking for the nearest right name costs up to a millisecond, and a caller may send thousands.
    is_worth_it = len(violations) < _MOST_SUGGESTIONS and len(name) <= LONGEST_ID
    violations.append(
        Violation(place, "not in the playbook" + (did_you_mean(name, known) if is_worth_it else ""))
    )
    return False
