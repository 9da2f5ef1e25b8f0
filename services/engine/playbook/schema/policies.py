"""``policies.yaml``: rules, suppressions, hours, weights and levers."""

from __future__ import annotations

from pydantic import Field

from services.engine.playbook.kinds import Name, Reference, Section
from services.engine.playbook.schema.catalogue import ActionClass
from services.engine.playbook.schema.head import Hours
from services.engine.playbook.schema.scalars import Factor, Sentence


class Scope(Section):
    """What a rule is about; left out, everything.

    The named groups, actions and treatments (``action/treatment``) together, narrowed to the named
    purposes, channels and classes.
    """

    groups: tuple[Reference, ...] = Field(default=(), strict=False)
    actions: tuple[Reference, ...] = Field(default=(), strict=False)
    treatments: tuple[Reference, ...] = Field(default=(), strict=False)
    purposes: tuple[Reference, ...] = Field(default=(), strict=False)
    channels: tuple[Reference, ...] = Field(default=(), strict=False)
    classes: tuple[ActionClass, ...] = Field(default=(), strict=False)


class Named(Section):
    """A named statement with a sentence for people; the name is unique in the file."""

    name: Name
    text: Sentence
    applies_to: Scope = Scope()


class Rule(Named):
    """A candidate stays where ``when`` is true and is removed otherwise.

    ``protective`` rules bind every control arm.
    """

    when: str
    protective: bool = False


class Suppression(Named):
    """A reason to stay away for now: a candidate is removed unless ``when`` is false.

    Without ``applies_to`` it is about standard and default actions.
    """

    when: str


class QuietHours(Named, Hours):
    """Hours in which nothing is delivered; what falls into them is moved to their end."""


class PreferredHours(Named, Hours):
    """Hours to deliver in where ``when`` is true; left out, always."""

    when: str | None = None


class Weight(Named):
    """Multiplies the worth of an action where ``when`` is true."""

    when: str
    factor: Factor


class Lever(Named):
    """Multiplies the worth of an action by a decision of the business; 0 is a veto."""

    factor: Factor


class PoliciesFile(Section):
    """``policies.yaml``."""

    eligibility: tuple[Rule, ...] = Field(default=(), strict=False)
    applicability: tuple[Rule, ...] = Field(default=(), strict=False)
    suitability: tuple[Rule, ...] = Field(default=(), strict=False)
    suppression: tuple[Suppression, ...] = Field(default=(), strict=False)
    quiet_hours: tuple[QuietHours, ...] = Field(default=(), strict=False)
    preferred_hours: tuple[PreferredHours, ...] = Field(default=(), strict=False)
    weights: tuple[Weight, ...] = Field(default=(), strict=False)
    levers: tuple[Lever, ...] = Field(default=(), strict=False)
