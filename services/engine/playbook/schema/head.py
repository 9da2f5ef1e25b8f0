"""``playbook.yaml`` and ``features.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from services.engine.playbook.kinds import FeatureDefinition, Name, Number, Section, Window, wrong_key
from services.engine.playbook.schema.attributes import ContextAttribute
from services.engine.playbook.schema.scalars import (
    Clock,
    Currency,
    Identifier,
    Micros,
    Probability,
    TimeZone,
)

Arm = Literal["random_eligible", "no_levers", "propensity_only", "eligibility_only", "hold_out"]


class Purpose(Section):
    """What a consent is for: contact on a channel, or the use of data on no channel in particular."""

    description: str = ""
    use: Literal["contact", "data"] = "contact"


class Channel(Section):
    """A way to reach someone.

    ``public``: others can see it, so no content made of what is known of a customer may go there.
    ``delay`` is how long a message usually takes to be noticed; urgent actions prefer the shortest.
    ``recipient: actor``: it reaches who acts on the advice, such as a seller, not the customer.
    ``inbound``: the customer comes to it, as to a web page or by calling in; a contact there counts
    from when it is viewed. It may have any recipient: at a desk the customer comes to an actor.
    """

    description: str = ""
    public: bool = False
    delay: Window | None = None
    recipient: Literal["customer", "actor"] = "customer"
    inbound: bool = False


class Hours(Section):
    """Hours of the day in local time; the end is exclusive, and may lie after midnight."""

    start: Clock = Field(alias="from")
    end: Clock = Field(alias="to")

    @model_validator(mode="after")
    def _not_empty(self) -> Hours:
        if self.start == self.end:
            raise wrong_key("to", '"from" and "to" must differ')
        return self


class Device(Section):
    """A kind of device; ``hours`` are when people usually sit at one that is not in hand now."""

    description: str = ""
    hours: Hours | None = None


class Softmax(Section):
    """Draws in proportion to ``exp(priority / temperature)``, in currency units."""

    method: Literal["softmax"]
    temperature: Annotated[Number, Field(gt=0.0, le=1e9)]


class Epsilon(Section):
    """Draws anything with probability ``epsilon``, the best otherwise."""

    method: Literal["epsilon"]
    epsilon: Annotated[Number, Field(gt=0.0, le=1.0)]


Exploration = Annotated[Softmax | Epsilon, Field(discriminator="method")]


class Measure(Section):
    """A number that outcomes carry, such as effort; ``worth`` is what one unit of it is worth."""

    description: str = ""
    least: Number = Field(alias="from")
    most: Number = Field(alias="to")
    worth: Micros = 0

    @model_validator(mode="after")
    def _ordered(self) -> Measure:
        if not -1e6 <= self.least < self.most <= 1e6:
            raise wrong_key("to", '"from" must lie below "to", both from -1,000,000 to 1,000,000')
        return self


class SlateLimits(Section):
    """How alike the actions of one answer may be."""

    most_per_group: int | None = Field(default=None, ge=1, le=100)
    most_per_channel: int | None = Field(default=None, ge=1, le=100)


class PlaybookFile(Section):
    """``playbook.yaml``."""

    name: Identifier
    description: str = ""
    time_zone: TimeZone
    currency: Currency
    objective: Literal["propensity"] = "propensity"
    measures: Mapping[Name, Measure] = {}
    threshold: Micros = 0
    minimum_propensity: Probability = 0.0
    exploration: Exploration | None = None
    control_arms: Mapping[Arm, Annotated[Number, Field(gt=0.0, le=0.5)]] = {}
    slate: SlateLimits = SlateLimits()
    purposes: Mapping[Identifier, Purpose] = Field(min_length=1)
    channels: Mapping[Identifier, Channel] = Field(min_length=1)
    devices: Mapping[Identifier, Device] = {}
    context: Mapping[Name, ContextAttribute] = {}

    @model_validator(mode="after")
    def _mostly_decided(self) -> PlaybookFile:
        if sum(self.control_arms.values()) > 0.5:
            raise wrong_key("control_arms", "control arms take at most half of the customers")
        return self


class FeaturesFile(Section):
    """``features.yaml``."""

    features: Mapping[Name, FeatureDefinition] = {}
