"""The shape of a file of cases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from services.cli.cases.moments import JUST_NOW, Instant, When
from services.engine.playbook.kinds import Name, Number, Section, wrong_key
from services.engine.playbook.schema.head import Arm
from services.engine.playbook.schema.scalars import Identifier, Probability

CASE: Final = "case"
"""The source of what a case says without naming one."""
Dependency = Literal["profile", "features", "scoring"]
ResponseKind = Literal["delivered", "viewed", "accepted", "rejected", "overridden"]
Level = Literal["MODEL", "LAST_GOOD_FEATURES", "PRIORS", "RULES", "NOTHING"]
Stage = Literal[
    "eligibility",
    "applicability",
    "suitability",
    "suppression",
    "stop",
    "consent",
    "contact",
    "place",
    "content",
    "arm",
    "score",
    "arbitration",
    "veto",
]


def _listed(raw: object) -> object:
    return (raw,) if isinstance(raw, str) else tuple(raw) if isinstance(raw, list) else raw


def _value(raw: object) -> object:
    return raw if raw is None or isinstance(raw, Mapping) else {"value": raw}


def _state(raw: object) -> object:
    return {"state": raw} if isinstance(raw, str) else raw


def _by_channel(raw: object) -> object:
    """Write a consent to the use of data, which has no channel, like one to contact."""
    if isinstance(raw, str) or (isinstance(raw, Mapping) and "state" in raw):
        return {"": raw}
    return raw


def _action(raw: object) -> object:
    if not isinstance(raw, str):
        return raw
    action, _, treatment = raw.partition("/")
    return {"action": action, **({"treatment": treatment} if treatment else {})}


def _rule(raw: object) -> object:
    return {"rule": raw} if isinstance(raw, str) else raw


def _draws(raw: object) -> object:
    return tuple(raw) if isinstance(raw, list) else raw if raw is None else (raw,)


def _customer(raw: object) -> object:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, Mapping) and len(raw) == 1 and all(isinstance(value, str) for value in raw.values()):
        return next(iter(raw.items()))
    raise ValueError("must be the name of a customer of the world, or one identity such as { email: a@b.c }")


def _offered(text: str) -> str:
    if text.count("/") != 1 or not all(text.split("/")):
        raise ValueError(f'"{text}" is no treatment such as sale/mail')
    return text


Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Hidden = Annotated[tuple[Annotated[str, Field(min_length=4)], ...], BeforeValidator(_listed)]
"""Texts that would hardly stand somewhere by chance."""


class Known(Section):
    """A value on file: since when, and from whom."""

    value: Any
    source: str = CASE
    recorded: When = JUST_NOW


class Stated(Section):
    """What a customer said of one purpose on one channel."""

    state: Literal["granted", "denied", "withdrawn"]
    recorded: When = JUST_NOW
    expires: When | None = None


class Event(Section):
    """Something that happened to a customer."""

    type: Name
    at: When
    attributes: Mapping[Name, Any] = {}


class Contact(Section):
    """An earlier contact of a customer: ``action/treatment``, reserved or taken.

    ``until`` is when a reservation ends. ``responses`` tell when the customer did what.
    """

    offered: Annotated[str, AfterValidator(_offered)] = Field(alias="contact")
    at: When
    state: Literal["taken", "reserved"] = "taken"
    until: When | None = None
    responses: Mapping[ResponseKind, When] = {}

    @model_validator(mode="after")
    def _until_when(self) -> Contact:
        if (self.state == "reserved") != (self.until is not None):
            raise wrong_key("until", '"until" belongs to what is reserved, which needs it')
        return self


Consents = Annotated[
    Mapping[str, Annotated[Stated | None, BeforeValidator(_state)]] | None, BeforeValidator(_by_channel)
]


class Customer(Section):
    """A customer, or in a case what is different of one; null takes something away.

    ``events`` replaces all events of the file's world, ``events+`` adds to them, and likewise
    ``contacts``. ``arm`` is the control arm, none where left out.
    """

    identities: Mapping[Name, str | None] = {}
    attributes: Mapping[Name, Annotated[Known | None, BeforeValidator(_value)]] = {}
    consents: Mapping[str, Consents] = {}
    events: tuple[Event, ...] | None = Field(default=None, strict=False)
    more_events: tuple[Event, ...] = Field(default=(), strict=False, alias="events+")
    contacts: tuple[Contact, ...] | None = Field(default=None, strict=False)
    more_contacts: tuple[Contact, ...] = Field(default=(), strict=False, alias="contacts+")
    arm: Arm | None = None


class World(Section):
    """What is so at the moment of the decision.

    ``scores`` are propensities by action, ``priors`` base rates by group; ``default`` is for those not
    named. ``down`` lists the services that are out of reach.
    """

    customers: Mapping[Identifier, Customer | None] = {}
    scores: Mapping[str, Probability] = {}
    priors: Mapping[str, Probability] = {}
    down: tuple[Dependency, ...] | None = Field(default=None, strict=False)


class Location(Section):
    """A place on earth."""

    country: str = ""
    region: str = ""
    latitude: Number | None = None
    longitude: Number | None = None


class Context(Section):
    """Where and how the customer is right now."""

    placement: str = ""
    channel: str = ""
    device: str = ""
    intent: str = ""
    time_zone: str = ""
    conversation_id: str = ""
    location: Location = Location()
    attributes: Mapping[Name, Any] = {}


class Actor(Section):
    """Who acts on the advice where that is not the customer."""

    id: str
    device: str = ""
    time_zone: str = ""


class Request(Section):
    """What is asked.

    ``draw`` are the points from 0 to 1 at which exploration draws the first ranks. Without it the
    best is drawn.
    """

    customer: Annotated[str | tuple[str, str], BeforeValidator(_customer)]
    context: Context = Context()
    actor: Actor | None = None
    max_actions: int = Field(default=1, ge=1, le=100)
    action_ids: tuple[str, ...] = Field(default=(), strict=False)
    groups: tuple[str, ...] = Field(default=(), strict=False)
    draw: Annotated[
        tuple[Annotated[Number, Field(ge=0.0, lt=1.0)], ...] | None,
        BeforeValidator(_draws),
        Field(max_length=3),
    ] = None


class ExpectedAction(Section):
    """An action of the answer; only what is written is compared.

    ``reasons`` are codes that are among its reasons, ``says`` texts that stand in one of them.
    """

    action: str
    treatment: str = ""
    channel: str = ""
    device: str = ""
    recipient: Literal["customer", "actor"] = "customer"
    not_before: When = JUST_NOW
    expires: When | None = None
    propensity: Number | None = None
    value: Number = 0.0
    cost: Number = 0.0
    priority: Number | None = None
    selection_probability: Number = 0.0
    bundle: str = ""
    content: Mapping[Name, str] = {}
    reasons: Words = ()
    says: Words = ()


class ExpectedRemoval(Section):
    """What took a candidate out; ``says`` are texts that stand in its sentence."""

    rule: str = ""
    stage: Stage | None = None
    says: Words = ()


class Expected(Section):
    """What the answer must be; what is not written may be anything.

    ``actions`` are all actions in their order. ``removed`` goes by action, meaning all its treatments,
    or by ``action/treatment``. ``record`` maps paths into the log record to values, null for nothing.
    ``never_logged`` are texts that must not stand in the log record, ``never_stored`` in no file.
    """

    actions: tuple[Annotated[ExpectedAction, BeforeValidator(_action)], ...] | None = Field(
        default=None, strict=False
    )
    reasons: Words = ()
    says: Words = ()
    removed: Mapping[str, Annotated[ExpectedRemoval, BeforeValidator(_rule)]] = {}
    served_by: Level | None = None
    degradations: tuple[Dependency, ...] | None = Field(default=None, strict=False)
    control_arm: Arm | Literal[""] | None = None
    record: Mapping[str, Any] = {}
    never_logged: Hidden = ()
    never_stored: Hidden = ()

    @model_validator(mode="after")
    def _something(self) -> Expected:
        if not self.model_fields_set:
            raise ValueError("nothing is expected")
        return self


class Claim(Section):
    """A sender claims the delivery of a rank; ``is_repeat`` where the verdict was given before."""

    rank: int = 1
    at: When = timedelta(0)
    by: str = ""
    expect: str
    """``GO``, or the code of the reason."""
    is_repeat: bool = False


class Report(Section):
    """An outcome is reported; ``instead`` is what a person did who overrode the decision."""

    rank: int = 1
    kind: ResponseKind
    at: When = timedelta(0)
    measures: Mapping[Name, Number] = {}
    instead: str = ""
    by: str = ""
    expect: str = "accepted"
    """``accepted``, or the reason of the error."""


class Step(Section):
    """What happens after a decision: one thing."""

    claim: Claim | None = None
    outcome: Report | None = None

    @model_validator(mode="after")
    def _one(self) -> Step:
        if (self.claim is None) == (self.outcome is None):
            raise ValueError('a step is either a "claim" or an "outcome"')
        return self


class CaseShape(Section):
    """One decision; ``near_miss`` marks one where the situation looks the same and must not be met.

    Where something happens ``then``, the decision is made live as well, with the same answer.
    """

    name: Annotated[str, Field(min_length=1)] = Field(alias="case")
    near_miss: bool = False
    now: Instant | None = None
    world: World = World()
    request: Request
    expect: Expected
    then: tuple[Step, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _near_miss_says_what_does_not_happen(self) -> CaseShape:
        if self.near_miss and self.expect.actions is None and not self.expect.removed:
            raise ValueError('a near miss says what must not happen: it needs "actions" or "removed"')
        return self


class CasesFile(Section):
    """One situation: what all its cases share, and the cases."""

    situation: Annotated[str, Field(min_length=1)]
    scenario: int | None = None
    description: str = ""
    now: Instant
    world: World = World()
    cases: tuple[CaseShape, ...] = Field(min_length=1, strict=False)
