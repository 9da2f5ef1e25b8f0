"""The kinds of feature that a playbook can declare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from services.engine.playbook.errors import did_you_mean

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_WINDOW = re.compile(r"([1-9][0-9]{0,5})([dhms])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be 1 to 64 of a-z, 0-9 and _, and begin with a letter")
    return text


def parse_window(text: object) -> object:
    """Read a length of time such as ``90d``, ``12h``, ``30m`` or ``45s``.

    >>> parse_window("90d")
    datetime.timedelta(days=90)
    """
    if isinstance(text, timedelta):
        return text
    if not (isinstance(text, str) and (match := _WINDOW.fullmatch(text))):
        raise ValueError(f"{text!r} is no length of time such as 90d, 12h, 30m or 45s")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _simple(value: object) -> object:
    if not isinstance(value, str | int):
        raise ValueError("must be a word, a whole number, true or false")
    return value


Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"})
]
Reference = str
"""A name that is declared elsewhere; it may look like anything, but must be known."""
Window = Annotated[
    timedelta,
    BeforeValidator(parse_window),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^{_WINDOW.pattern}$",
            "description": "A length of time such as 90d, 12h, 30m or 45s.",
        }
    ),
]
Simple = Annotated[str | int | bool, BeforeValidator(_simple)]
Number = Annotated[float, BeforeValidator(lambda v: float(v) if type(v) is int else v)]
"""A number that may be written without decimals."""


def wrong_key(key: str, message: str) -> PydanticCustomError:
    """Return what to raise where one key of a section does not fit the others."""
    return PydanticCustomError("wrong_key", "{message}", {"key": key, "message": message})


class Section(BaseModel):
    """A mapping of the playbook: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            if unknown := {key: did_you_mean(key, known) for key in data if key not in known}:
                raise PydanticCustomError("unknown_keys", "unknown keys", {"unknown": unknown})
        return data


class Definition(Section):
    """What all kinds have: a sentence for people."""

    description: str = ""


def _is_unset(value: object) -> bool:
    return value is None


class ServedDefinition(Definition):
    """A feature that needs nothing but events, so that the feature service computes it.

    ``default`` stands in for a value that is missing or too old, never for one that lacks a consent.
    """

    # Models and records name hashes from before there was this key.
    default: Annotated[Number, Field(allow_inf_nan=False)] | None = Field(default=None, exclude_if=_is_unset)


class EventDefinition(ServedDefinition):
    """A feature of the events of one type in ``[t - window, t)``; without a window, of all before t.

    ``where`` keeps the events whose string, enum, integer or boolean attributes equal the values.
    The value is missing once the newest event that it rests on is ``max_age`` old; one that rests on
    no event, such as a count of 0, is never too old.
    """

    event: Reference
    window: Window | None = None
    where: Mapping[Reference, Simple] = {}
    max_age: Window | None = Field(default=None, exclude_if=_is_unset)

    @property
    def event_types(self) -> tuple[str, ...]:
        """Return the types of the events that the number rests on, ``event`` first."""
        return (self.event,)


class Count(EventDefinition):
    """How many events there are."""

    kind: Literal["count"]


class Sum(EventDefinition):
    """The sum of an integer or decimal attribute; 0 without events."""

    kind: Literal["sum"]
    attribute: Reference


class Mean(EventDefinition):
    """The mean of an integer or decimal attribute; missing without values."""

    kind: Literal["mean"]
    attribute: Reference


class Min(EventDefinition):
    """The smallest value of an integer, decimal or number attribute; missing without values."""

    kind: Literal["min"]
    attribute: Reference


class Max(EventDefinition):
    """The largest value of an integer, decimal or number attribute; missing without values."""

    kind: Literal["max"]
    attribute: Reference


class First(EventDefinition):
    """The oldest value of a number, boolean or enum attribute; missing without values."""

    kind: Literal["first"]
    attribute: Reference


class Last(EventDefinition):
    """The newest value of a number, boolean or enum attribute; missing without values."""

    kind: Literal["last"]
    attribute: Reference


class Rate(EventDefinition):
    """Events, or the sum of an integer or decimal attribute, per day of the window; 0 without events.

    It divides by the whole window, also where the customer is known for a shorter time.
    """

    kind: Literal["rate"]
    window: Window
    attribute: Reference | None = None


class Decayed(EventDefinition):
    """A counter that forgets: each event counts ``2 ** (-age / half_life)``; 0 without events.

    ``age`` is the time from the event to t. With ``attribute``, integer or decimal, an event counts
    that amount times the factor, and 0 without a value.
    """

    kind: Literal["decayed"]
    half_life: Window
    attribute: Reference | None = None


class Recency(EventDefinition):
    """Days from the newest event to t; missing without events."""

    kind: Literal["recency"]


class Open(EventDefinition):
    """Seconds from the oldest event that is still open to t; missing where none is.

    An event is closed by any event at or after it, in (event time, event id) order, whose type is in
    ``closed_by`` and whose ``key``, a string attribute of all these types, has the same value. Events
    without a ``key`` are left out, as nothing could ever close them. ``where`` is about what opens.
    """

    kind: Literal["open"]
    key: Reference
    closed_by: tuple[Reference, ...] = Field(min_length=1, strict=False)

    @property
    def event_types(self) -> tuple[str, ...]:
        """Return what opens, then what closes."""
        return (self.event, *self.closed_by)


class Interval(EventDefinition):
    """Mean days between one event and the next; missing with less than two events."""

    kind: Literal["interval"]


class Distinct(EventDefinition):
    """How many different values an attribute takes."""

    kind: Literal["distinct"]
    attribute: Reference


class Affinity(EventDefinition):
    """How much of a customer's behaviour matches an action.

    Events are divided by the attribute ``by``. ``to`` names what to match: ``id``, or an action
    attribute that holds one word (string, enum) or several with weights. The amounts, sums of
    ``attribute`` or else counts of events, are added over the matching words, each times its
    weight. ``share`` divides by the amount over all words and is missing where that is not
    positive.
    """

    kind: Literal["affinity"]
    by: Reference
    to: Reference
    attribute: Reference | None = None
    measure: Literal["share", "total"] = "share"


class ProfileFeature(Definition):
    """A profile attribute as a number: an enum is the place of its value in the declared order."""

    kind: Literal["profile"]
    attribute: Reference


class ContextFeature(Definition):
    """A context attribute, or the local ``hour`` (0 to 23) or ``weekday`` (Monday is 1)."""

    kind: Literal["context"]
    attribute: Reference


class ActionFeature(Definition):
    """An action attribute as a number: an enum is the place of its value in the declared order."""

    kind: Literal["action"]
    attribute: Reference


class ExpressionFeature(ServedDefinition):
    """A number computed from other features by CEL, such as ``feature.spend / feature.orders``.

    It reads features of events and other expressions, and differs from action to action where one
    of them does. It is missing where a value that it needs is missing, where it fails and where its
    result is not finite; ``known.feature.orders`` asks whether a value is there.
    """

    kind: Literal["expression"]
    expression: str


AnyFeature = (
    Count
    | Sum
    | Mean
    | Min
    | Max
    | First
    | Last
    | Rate
    | Recency
    | Open
    | Interval
    | Distinct
    | Decayed
    | Affinity
    | ProfileFeature
    | ContextFeature
    | ActionFeature
    | ExpressionFeature
)
FeatureDefinition = Annotated[AnyFeature, Field(discriminator="kind")]


def is_served(definition: AnyFeature) -> bool:
    """Tell whether a feature needs nothing but events, so that the feature service computes it."""
    return isinstance(definition, ServedDefinition)
