"""The shape of each file of a playbook. A key that nothing enforces is refused, never ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from services.engine.instants import time_zone
from services.engine.playbook.kinds import FeatureDefinition, Name, Section, parse_window

ActionClass = Literal["standard", "transactional", "mandatory"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _identifier(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError(
            "must be 1 to 64 letters, digits, dots, dashes or underscores, and begin with no sign"
        )
    return text


def _zone(name: str) -> str:
    if time_zone(name) is None:
        raise ValueError(f'"{name}" is no IANA time zone')
    return name


def _micros(value: object) -> object:
    """Turn an amount in currency units into whole micro-units."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        micros = Decimal(str(value)) * 1_000_000
    except ArithmeticError:
        raise ValueError(f'"{value}" is no amount') from None
    if not micros.is_finite() or abs(micros) > 10**15:
        raise ValueError("an amount lies between -1,000,000,000 and 1,000,000,000")
    if micros != micros.to_integral_value():
        raise ValueError("an amount has at most six decimals")
    return int(micros)


def _day(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        day = date.fromisoformat(value)
    except ValueError:
        day = None
    if day is None or day.isoformat() != value:
        raise ValueError(f'"{value}" is no date such as 2025-12-31')
    if not 1970 <= day.year <= 9998:
        raise ValueError("a date lies in the years 1970 to 9998")
    return day


def _within(value: object) -> object:
    if value == "validity":
        return value
    try:
        return parse_window(value)
    except ValueError as error:
        raise ValueError(f"{error}, nor validity") from None


Identifier = Annotated[str, AfterValidator(_identifier)]
Micros = Annotated[int, BeforeValidator(_micros)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Day = Annotated[date, BeforeValidator(_day)]
Sentence = Annotated[str, Field(min_length=1, max_length=400)]


class AttributeType(Section):
    """The type of an attribute of a profile, an event, a context or an action.

    ``decimal`` needs ``scale``, the number of decimals kept: sums accumulate as integers of that
    scale. ``enum`` needs ``values``, whose order is the number that a feature makes of it.
    ``weights`` maps words to numbers and exists for actions only.
    """

    type: Literal["string", "enum", "integer", "number", "decimal", "boolean", "weights"]
    scale: int | None = Field(default=None, ge=0, le=9)
    values: tuple[str, ...] | None = Field(default=None, strict=False)
    description: str = ""

    @model_validator(mode="after")
    def _complete(self) -> AttributeType:
        if (self.type == "decimal") != (self.scale is not None):
            raise ValueError('"scale" belongs to type decimal, which needs it')
        if (self.type == "enum") != (self.values is not None):
            raise ValueError('"values" belongs to type enum, which needs it')
        if self.values is not None and (not self.values or len(set(self.values)) != len(self.values)):
            raise ValueError('"values" must be distinct and at least one')
        return self


class Described(Section):
    """Something whose name says most of it."""

    description: str = ""


class PlaybookFile(Section):
    """``playbook.yaml``."""

    name: Identifier
    description: str = ""
    time_zone: TimeZone
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    objective: Literal["propensity"] = "propensity"
    threshold: Micros = 0
    purposes: Mapping[Identifier, Described] = Field(min_length=1)
    channels: Mapping[Identifier, Described] = Field(min_length=1)
    context: Mapping[Name, AttributeType] = {}


class ProfileFile(Section):
    """``profile.yaml``."""

    identities: Mapping[Name, Described] = {}
    attributes: Mapping[Name, AttributeType] = {}


class EventType(Section):
    """One type of event."""

    description: str = ""
    attributes: Mapping[Name, AttributeType] = {}


class EventsFile(Section):
    """``events.yaml``."""

    events: Mapping[Name, EventType] = {}


class FeaturesFile(Section):
    """``features.yaml``."""

    features: Mapping[Name, FeatureDefinition] = {}


class OutcomeDefinition(Section):
    """The event that makes an action a success.

    ``match`` names the event attribute that holds the action id. ``within`` counts from the
    exposure; ``validity`` means until the action ends.
    """

    event: Name
    match: Name
    within: Annotated[timedelta | Literal["validity"], BeforeValidator(_within)]


class Group(Section):
    """Actions that belong together: they share an outcome and a base rate."""

    description: str = ""
    outcome: OutcomeDefinition | None = None


class Validity(Section):
    """Days on which an action is live, both included, in the playbook's time zone."""

    start: Day | None = Field(default=None, alias="from")
    through: Day | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Validity:
        if self.start and self.through and self.start > self.through:
            raise ValueError('"from" lies after "through"')
        return self


class Treatment(Section):
    """An action on one channel."""

    channel: Identifier
    cost: Micros = 0
    content: Mapping[Name, str] = Field(min_length=1)


class Action(Section):
    """Something worth doing."""

    group: Identifier
    action_class: ActionClass = Field(default="standard", alias="class")
    purpose: Identifier
    description: str = ""
    value: Micros
    valid: Validity = Validity()
    attributes: Mapping[Name, Any] = {}
    treatments: Mapping[Identifier, Treatment] = Field(min_length=1)


class ActionsFile(Section):
    """``actions.yaml``."""

    attributes: Mapping[Name, AttributeType] = {}
    groups: Mapping[Identifier, Group] = Field(min_length=1)
    actions: Mapping[Identifier, Action] = Field(min_length=1)


class Scope(Section):
    """The actions that a rule is about; both lists empty means all."""

    groups: tuple[Identifier, ...] = Field(default=(), strict=False)
    actions: tuple[Identifier, ...] = Field(default=(), strict=False)


class Rule(Section):
    """A permissive rule: a candidate stays where ``when`` is true and is removed otherwise."""

    name: Name
    text: Sentence
    when: str
    applies_to: Scope = Scope()


class PoliciesFile(Section):
    """``policies.yaml``."""

    eligibility: tuple[Rule, ...] = Field(default=(), strict=False)
    applicability: tuple[Rule, ...] = Field(default=(), strict=False)
    suitability: tuple[Rule, ...] = Field(default=(), strict=False)
