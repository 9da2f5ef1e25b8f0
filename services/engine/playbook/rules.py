"""The statements of ``policies.yaml``, compiled and found by treatment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, get_args

from services.engine.playbook.expressions import KNOWN, Expression
from services.engine.playbook.facts import facts_of, is_about
from services.engine.playbook.schema.catalogue import Action, Treatment
from services.engine.playbook.schema.policies import Named, Scope

Stage = Literal["eligibility", "applicability", "suitability", "suppression", "stop"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
_Other = Literal[
    "quiet_hours",
    "preferred_hours",
    "weights",
    "promises",
    "levers",
    "caps",
    "cool_downs",
    "repeat_costs",
    "precedence",
]
Section = Stage | _Other
SECTIONS: Final[tuple[Section, ...]] = (
    *(stage for stage in STAGES if stage != "stop"),
    *get_args(_Other),
)
"""The sections of ``policies.yaml``, in order; what stops an action stands with the action."""
RESTRAINTS: Final = ("caps", "cool_downs", "precedence")
"""The sections of the contact policy whose statements remove."""
_SPARING: Final = ("suppression", "caps", "cool_downs", "repeat_costs")
"""The sections whose statements, where they do not say, leave out what has to be said."""
_UNSCOPED: Final = Scope(classes=("standard", "default"))


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

    ``place`` orders all statements: policies by stage, then hours, weights, promises, levers, contact
    policy.
    """

    place: int
    section: Section
    rule: Named
    expression: Expression | None
    varies: Varies

    @property
    def scope(self) -> Scope:
        """Return what it is about; suppressions and contact policies spare what has to be said."""
        scope = self.rule.applies_to
        return _UNSCOPED if self.section in _SPARING and scope.is_everything else scope

    @property
    def wanted(self) -> bool:
        """Return what the condition of a policy must come to for a candidate to stay."""
        return self.section not in ("suppression", "stop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Concerning:
    """The statements about one treatment, each part in the order of declaration."""

    shared: tuple[CompiledRule, ...]
    """Policies that are asked once a decision; one object for all treatments that share them."""
    own: tuple[CompiledRule, ...]
    """Policies that are asked for each action or treatment."""
    others: tuple[CompiledRule, ...]
    """Hours, weights, promises, levers and the contact policy."""


class RuleBook:
    """All statements of a playbook in their order, as ``CompiledRule.place`` has it.

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
        facts = facts_of(action_id, action, treatment_id, treatment)

        def concerns(rule: CompiledRule) -> bool:
            return is_about(rule.scope, facts)

        kind = (action.group, action.purpose, action.action_class, treatment.channel)
        if (general := self._by_kind.get(kind)) is None:
            general = self._by_kind[kind] = _split([rule for rule in self._general if concerns(rule)])
        candidates = {rule.place: rule for rule in (*self._named.get(action_id, ()), *self._mixed)}
        own = [rule for rule in candidates.values() if concerns(rule)]
        if not own:
            return general
        rules = [*general.shared, *general.own, *general.others, *own]
        return _split(sorted(rules, key=lambda rule: rule.place))


def stop_of(action_id: str) -> Named:
    """Return the statement that an action's ``stop_when`` makes: it is about that action alone."""
    return Named(name="stop_when", text="It has lost its point.", applies_to=Scope(actions=(action_id,)))


def _split(rules: Sequence[CompiledRule]) -> Concerning:
    policies = [rule for rule in rules if rule.section in STAGES]
    return Concerning(
        shared=tuple(rule for rule in policies if rule.varies is Varies.BY_DECISION),
        own=tuple(rule for rule in policies if rule.varies is not Varies.BY_DECISION),
        others=tuple(rule for rule in rules if rule.section not in STAGES),
    )
