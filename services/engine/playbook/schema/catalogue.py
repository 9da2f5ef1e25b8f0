"""``actions.yaml``: groups, actions, treatments and bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from services.engine.playbook.kinds import Name, Number, Reference, Section, Window, wrong_key
from services.engine.playbook.schema.attributes import AttributeType
from services.engine.playbook.schema.scalars import (
    Day,
    Identifier,
    Micros,
    Probability,
    Sentence,
    Within,
)

ActionClass = Literal["standard", "transactional", "mandatory", "default"]


class OutcomeDefinition(Section):
    """The event that makes an action a success.

    ``match`` names the event attribute that holds the action id. ``within`` counts from the
    exposure; ``validity`` means until the action ends.
    """

    event: Reference
    match: Reference
    within: Within


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
            raise wrong_key("through", '"from" lies after "through"')
        return self


class Treatment(Section):
    """An action on one channel.

    ``devices`` are those that it fits, best first; empty means any. A text of ``content`` may hold
    ``{profile.name}``, ``{context.name}``, ``{feature.name}`` or ``{action.name}``, each with a
    substitute for a missing value after a bar: ``{profile.first_name|customer}``.
    """

    channel: Reference
    cost: Micros = 0
    devices: tuple[Reference, ...] = Field(default=(), strict=False)
    content: Mapping[Name, str] = Field(min_length=1)


class Action(Section):
    """Something worth doing.

    ``urgent`` actions take their fastest channel, whatever it costs. ``any_hour`` frees mandatory and
    transactional ones from quiet hours. ``expires_after`` counts from the decision. ``stop_when`` is a
    condition, asked again just before sending: unless it is false, the action is pointless by now.
    ``why`` is the reason that people read first; placeholders work as in content. ``measures`` are
    expected values of what outcomes carry.
    """

    group: Reference
    action_class: ActionClass = Field(default="standard", alias="class")
    purpose: Reference
    description: str = ""
    why: Sentence | None = None
    value: Micros
    minimum_propensity: Probability | None = None
    measures: Mapping[Reference, Number] = {}
    urgent: bool = False
    any_hour: bool = False
    valid: Validity = Validity()
    expires_after: Window | None = None
    stop_when: str | None = None
    attributes: Mapping[Reference, Any] = {}
    treatments: Mapping[Identifier, Treatment] = Field(min_length=1)

    @model_validator(mode="after")
    def _hours(self) -> Action:
        if self.any_hour and self.action_class not in ("mandatory", "transactional"):
            raise wrong_key("any_hour", '"any_hour" is for the classes mandatory and transactional only')
        return self

    @model_validator(mode="after")
    def _chance(self) -> Action:
        if self.minimum_propensity is not None and self.action_class in ("mandatory", "transactional"):
            message = '"minimum_propensity" is for the classes standard and default only'
            raise wrong_key("minimum_propensity", message)
        return self


class Bundle(Section):
    """Actions that belong in one answer: after the first of them, the others follow."""

    text: Sentence
    actions: tuple[Reference, ...] = Field(min_length=2, strict=False)


class ActionsFile(Section):
    """``actions.yaml``."""

    attributes: Mapping[Name, AttributeType] = {}
    groups: Mapping[Identifier, Group] = Field(min_length=1)
    bundles: Mapping[Identifier, Bundle] = {}
    actions: Mapping[Identifier, Action] = Field(min_length=1)
