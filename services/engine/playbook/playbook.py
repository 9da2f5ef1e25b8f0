"""A loaded playbook: checked, cross-referenced, compiled, versioned by its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Final, Literal
from zoneinfo import ZoneInfo

from services.engine.playbook.expressions import Environment, Expression, Formula
from services.engine.playbook.kinds import AnyFeature
from services.engine.playbook.schema import (
    Action,
    ActionsFile,
    EventsFile,
    OutcomeDefinition,
    PlaybookFile,
    PoliciesFile,
    ProfileFile,
    Rule,
    Treatment,
)
from services.engine.playbook.values import Value, parse

Stage = Literal["eligibility", "applicability", "suitability"]
STAGES: Final[tuple[Stage, ...]] = ("eligibility", "applicability", "suitability")
DO_NOTHING: Final = "do_nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """A rule with its checked expression; ``per_action`` where it reads the action."""

    stage: Stage
    rule: Rule
    expression: Expression
    per_action: bool

    def concerns(self, action_id: str, group: str) -> bool:
        """Tell whether the rule is about this action."""
        scope = self.rule.applies_to
        if not scope.actions and not scope.groups:
            return True
        return action_id in scope.actions or group in scope.groups


@dataclass(frozen=True, kw_only=True)
class Playbook:
    """One version of a business configuration.

    ``version`` is the SHA-256 of the parsed configuration: comments, layout and cases do not
    change it. Mappings keep the order of declaration.
    """

    version: str
    head: PlaybookFile
    profile: ProfileFile
    events: EventsFile
    features: Mapping[str, AnyFeature]
    definition_hashes: Mapping[str, str]
    formulas: Mapping[str, Formula]
    """The formulas of expression features, each after those that it reads."""
    candidate_features: frozenset[str]
    """The features that differ from action to action."""
    catalogue: ActionsFile
    policies: PoliciesFile
    rules: tuple[CompiledRule, ...]
    environment: Environment
    validity: Mapping[str, tuple[datetime | None, datetime | None]]
    """For each action, the instants of its first moment and of its end (exclusive)."""

    @property
    def actions(self) -> Mapping[str, Action]:
        """Return the actions by id."""
        return self.catalogue.actions

    @cached_property
    def rule_variables(self) -> frozenset[str]:
        """Return every variable that some rule reads."""
        return frozenset().union(*(rule.expression.reads for rule in self.rules))

    @cached_property
    def action_attributes(self) -> Mapping[str, Mapping[str, Value]]:
        """Return the attributes of each action as values of their declared types, weights left out."""
        declared = self.catalogue.attributes
        return {
            action_id: {
                name: parse(declared[name], raw)
                for name, raw in action.attributes.items()
                if declared[name].type != "weights"
            }
            for action_id, action in self.actions.items()
        }

    def units(self, event: str, attribute: str) -> int:
        """Return how many smallest units make 1 of a summed event attribute: 100 for two decimals."""
        return int(10 ** (self.events.events[event].attributes[attribute].scale or 0))

    def is_live(self, action_id: str, at: datetime) -> bool:
        """Tell whether an action is valid at a moment; the end is exclusive."""
        start, end = self.validity[action_id]
        return (start is None or start <= at) and (end is None or at < end)

    def outcome_of(self, action_id: str) -> OutcomeDefinition | None:
        """Return the outcome that an action's group declares."""
        return self.catalogue.groups[self.actions[action_id].group].outcome

    def outcome_end(self, action_id: str, exposure: datetime) -> datetime | None:
        """Return when the outcome's window closes, exclusive; None where it has none or no end."""
        outcome = self.outcome_of(action_id)
        if outcome is None:
            return None
        return self.validity[action_id][1] if outcome.within == "validity" else exposure + outcome.within

    def treatments(self) -> Sequence[tuple[str, Action, str, Treatment]]:
        """List every treatment with its action, in the order of declaration."""
        return [
            (action_id, action, treatment_id, treatment)
            for action_id, action in self.actions.items()
            for treatment_id, treatment in action.treatments.items()
        ]


def validity_of(action: Action, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """Turn an action's days into instants: midnight of the first, midnight after the last.

    A day whose midnight does not exist (a clock change) begins at the first moment that does.
    """
    start, through = action.valid.start, action.valid.through
    return (
        None if start is None else _midnight(start, zone),
        None if through is None else _midnight(through + timedelta(days=1), zone),
    )


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
