"""The statements of ``policies.yaml``, compiled and found by treatment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from services.engine.playbook.expressions import KNOWN, Expression
from services.engine.playbook.schema.catalogue import Action, Treatment
from services.engine.playbook.schema.policies import Named, Scope

Stage = Literal["eligibility", "applicability", "suitability", "suppression"]
STAGES: Final[tuple[Stage, ...]] = ("eligibility", "applicability", "suitability", "suppression")
Section = Literal[
    "eligibility",
    "applicability",
    "suitability",
    "suppression",
    "quiet_hours",
    "preferred_hours",
    "weights",
    "levers",
]
SECTIONS: Final[tuple[Section, ...]] = (*STAGES, "quiet_hours", "preferred_hours", "weights", "levers")
_UNSCOPED_SUPPRESSION: Final = Scope(classes=("standard", "default"))


class Varies(IntEnum):
    """How often a condition has to be asked."""

    BY_DECISION = 0
    BY_ACTION = 1
    BY_TREATMENT = 2


def varies(expression: Expression | None, varying: Collection[str]) -> Varies:
    """Tell how often a condition has to be asked; ``varying`` are the features that differ by action."""
    reads = {name.removeprefix(KNOWN) for name in (expression.reads if expression else ())}
    if any(name.startswith("treatment.") for name in reads):
        return Varies.BY_TREATMENT
    if any(name.startswith("action.") or name in varying for name in reads):
        return Varies.BY_ACTION
    return Varies.BY_DECISION


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """A named statement; ``expression`` is None where it always holds.

    ``place`` orders all statements: policies by stage, then hours, weights and levers.
    """

    place: int
    section: Section
    rule: Named
    expression: Expression | None
    varies: Varies

    @property
    def scope(self) -> Scope:
        """Return what it is about; a suppression that does not say leaves out what has to be said."""
        scope = self.rule.applies_to
        return _UNSCOPED_SUPPRESSION if self.section == "suppression" and scope == Scope() else scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Concerning:
    """The statements about one treatment, each part in the order of declaration."""

    shared: tuple[CompiledRule, ...]
    """Policies that are asked once a decision; one object for all treatments that share them."""
    own: tuple[CompiledRule, ...]
    """Policies that are asked for each action or treatment."""
    others: tuple[CompiledRule, ...]
    """Hours, weights and levers."""


class RuleBook:
    """All statements of a playbook, in order: policies by stage, then hours, weights and levers.

    Finding those about a treatment costs the same however many actions there are: statements that
    name no action are looked up once for each combination of group, purpose, class and channel.
    """

    def __init__(self, rules: Iterable[CompiledRule]) -> None:
        self.rules = tuple(rules)
        named: list[CompiledRule] = []
        general: list[CompiledRule] = []
        for rule in self.rules:
            (named if rule.scope.actions or rule.scope.treatments else general).append(rule)
        self._general = general
        self._named: dict[str, list[CompiledRule]] = {}
        for rule in named:
            scope = rule.scope
            owners = {*scope.actions, *(reference.split("/")[0] for reference in scope.treatments)}
            for action_id in sorted(owners):
                self._named.setdefault(action_id, []).append(rule)
        # What names groups beside actions is about both.
        self._mixed = [rule for rule in named if rule.scope.groups]
        self._by_kind: dict[tuple[str, ...], Concerning] = {}
        self._by_treatment: dict[tuple[str, str], Concerning] = {}

    def concerning(
        self, action_id: str, action: Action, treatment_id: str, treatment: Treatment
    ) -> Concerning:
        """Return the statements about a treatment."""
        key = (action_id, treatment_id)
        if (found := self._by_treatment.get(key)) is None:
            found = self._by_treatment[key] = self._find(action_id, action, treatment_id, treatment)
        return found

    def _find(self, action_id: str, action: Action, treatment_id: str, treatment: Treatment) -> Concerning:
        def concerns(rule: CompiledRule) -> bool:
            return is_about(rule.scope, action_id, action, treatment_id, treatment)

        kind = (action.group, action.purpose, action.action_class, treatment.channel)
        if (general := self._by_kind.get(kind)) is None:
            general = self._by_kind[kind] = _split([rule for rule in self._general if concerns(rule)])
        candidates = {rule.place: rule for rule in (*self._named.get(action_id, ()), *self._mixed)}
        own = [rule for rule in candidates.values() if concerns(rule)]
        if not own:
            return general
        rules = [*general.shared, *general.own, *general.others, *own]
        return _split(sorted(rules, key=lambda rule: rule.place))


def is_about(scope: Scope, action_id: str, action: Action, treatment_id: str, treatment: Treatment) -> bool:
    """Tell whether a treatment lies in a scope."""
    if (scope.groups or scope.actions or scope.treatments) and not (
        action.group in scope.groups
        or action_id in scope.actions
        or f"{action_id}/{treatment_id}" in scope.treatments
    ):
        return False
    return (
        (not scope.purposes or action.purpose in scope.purposes)
        and (not scope.channels or treatment.channel in scope.channels)
        and (not scope.classes or action.action_class in scope.classes)
    )


def _split(rules: Sequence[CompiledRule]) -> Concerning:
    policies = [rule for rule in rules if rule.section in STAGES]
    return Concerning(
        shared=tuple(rule for rule in policies if rule.varies is Varies.BY_DECISION),
        own=tuple(rule for rule in policies if rule.varies is not Varies.BY_DECISION),
        others=tuple(rule for rule in rules if rule.section not in STAGES),
    )
