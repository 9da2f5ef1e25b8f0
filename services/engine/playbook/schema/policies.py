"""``policies.yaml``: rules, suppressions, hours, weights, promises, levers and the contact policy."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from services.engine.playbook.kinds import Name, Number, Reference, Section, Window, wrong_key
from services.engine.playbook.schema.catalogue import ActionClass
from services.engine.playbook.schema.head import Hours
from services.engine.playbook.schema.scalars import Factor, Micros, Period, Sentence, at_most


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

    @property
    def is_everything(self) -> bool:
        """Tell whether nothing is named, so that it is about everything."""
        return self == _EVERYTHING


_EVERYTHING: Final = Scope()


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


class Promise(Named):
    """A response time that was promised: the worth of what answers rises as the limit nears.

    ``feature``, of kind open, tells how long somebody has been waiting. While it has a value, the worth
    of what ``applies_to`` names is multiplied by ``1 + (most - 1) * min(waiting / within, 1)``.
    """

    applies_to: Scope
    feature: Reference
    within: Window
    most: Annotated[Number, Field(gt=1.0, le=1_000_000.0)]

    @model_validator(mode="after")
    def _answered(self) -> Promise:
        if self.applies_to.is_everything:
            raise wrong_key("applies_to", '"applies_to" must say what answers the promise')
        return self


class Lever(Named):
    """Multiplies the worth of an action by a decision of the business; 0 is a veto."""

    factor: Factor


def _distinct(each: tuple[str, ...]) -> tuple[str, ...]:
    for index, name in enumerate(each):
        if name in each[:index]:
            raise ValueError(f'"{name}" stands twice')
    return each


Likeness = Literal["group", "action", "treatment", "channel", "purpose"]
"""What contacts may have in common; treatments are alike only within their action."""
Each = Annotated[tuple[Likeness, ...], AfterValidator(_distinct), Field(strict=False)]
Answer = Literal["delivered", "viewed", "accepted", "rejected", "overridden"]


class Cap(Named):
    """At most so many contacts in the window, apart for each combination of what ``each`` names.

    Without ``applies_to`` it is about standard and default actions, as are cool-downs and repeat costs.
    """

    most: int = Field(ge=1, le=1000)
    window: Period
    each: Each = ()


class CoolDown(Named):
    """After such an answer to a contact, what is alike in ``each`` rests."""

    after: Answer
    rest: Annotated[Window, at_most(400)]
    each: Each = ("action",)


class RepeatCost(Named):
    """Each earlier contact of the window that is alike in ``each`` adds ``amount`` to the cost."""

    amount: Annotated[Micros, Field(gt=0)]
    window: Period
    each: Each = ("action",)


class Precedence(Named):
    """What is in ``applies_to`` waits for what is in ``first``, unless it is in ``first`` itself.

    It waits while something of ``first`` may be chosen in the same decision, while a contact of it is
    reserved and not yet taken, and until ``within`` after one was taken.
    """

    applies_to: Scope
    first: Scope
    within: Annotated[Window, at_most(400)] | None = None

    @model_validator(mode="after")
    def _both_named(self) -> Precedence:
        for key, scope in (("applies_to", self.applies_to), ("first", self.first)):
            if scope.is_everything:
                raise wrong_key(key, f'"{key}" must say what it is about')
        return self


class PoliciesFile(Section):
    """``policies.yaml``.

    ``claim_within`` is how long after its earliest time a reserved contact may be claimed.
    """

    eligibility: tuple[Rule, ...] = Field(default=(), strict=False)
    applicability: tuple[Rule, ...] = Field(default=(), strict=False)
    suitability: tuple[Rule, ...] = Field(default=(), strict=False)
    suppression: tuple[Suppression, ...] = Field(default=(), strict=False)
    quiet_hours: tuple[QuietHours, ...] = Field(default=(), strict=False)
    preferred_hours: tuple[PreferredHours, ...] = Field(default=(), strict=False)
    weights: tuple[Weight, ...] = Field(default=(), strict=False)
    promises: tuple[Promise, ...] = Field(default=(), strict=False)
    levers: tuple[Lever, ...] = Field(default=(), strict=False)
    claim_within: Annotated[Window, at_most(30)] = Field(default="1d", validate_default=True)
    caps: tuple[Cap, ...] = Field(default=(), strict=False)
    cool_downs: tuple[CoolDown, ...] = Field(default=(), strict=False)
    repeat_costs: tuple[RepeatCost, ...] = Field(default=(), strict=False)
    precedence: tuple[Precedence, ...] = Field(default=(), strict=False)
