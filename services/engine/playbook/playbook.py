"""A loaded playbook: checked, cross-referenced, compiled, versioned by its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

from services.engine.instants import midnight
from services.engine.playbook.expressions import KNOWN, Environment, Formula
from services.engine.playbook.formulas import FEATURE
from services.engine.playbook.kinds import AnyFeature
from services.engine.playbook.rules import RuleBook, Varies
from services.engine.playbook.schema.attributes import EventsFile, ProfileFile
from services.engine.playbook.schema.catalogue import Action, ActionsFile, OutcomeDefinition, Treatment
from services.engine.playbook.schema.head import PlaybookFile
from services.engine.playbook.schema.policies import PoliciesFile
from services.engine.playbook.templates import Template
from services.engine.playbook.values import Value, native, parse

DO_NOTHING: Final = "do_nothing"


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The parsed texts of a treatment; ``why`` is None where the action declares none."""

    content: Mapping[str, Template]
    why: Template | None

    @cached_property
    def fixed(self) -> tuple[Mapping[str, str], str] | None:
        """Return content and ``why`` where they have no placeholders, None where they have some."""
        if any(template.reads for template in (*self.content.values(), self.why) if template):
            return None
        content = {name: template.text for name, template in self.content.items()}
        return content, self.why.text if self.why else ""


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
    feature_consents: Mapping[str, frozenset[str]]
    """The purposes whose consent features need; those that need none are left out."""
    rules: RuleBook
    texts: Mapping[tuple[str, str], Texts]
    """By action and treatment."""
    borrowed: frozenset[str]
    """The variables that are never logged."""
    environment: Environment
    validity: Mapping[str, tuple[datetime | None, datetime | None]]
    """For each action, the instants of its first moment and of its end (exclusive)."""

    @property
    def actions(self) -> Mapping[str, Action]:
        """Return the actions by id."""
        return self.catalogue.actions

    def variables_of(self, least: Varies) -> tuple[frozenset[str], frozenset[str]]:
        """Return the variables that conditions read which vary by at least so much.

        The first set differs from action to action or treatment to treatment, the second does not.
        """
        return self._variables[least]

    @cached_property
    def _variables(self) -> Mapping[Varies, tuple[frozenset[str], frozenset[str]]]:
        conditional = [(rule.varies, rule.expression.reads) for rule in self.rules.rules if rule.expression]
        found = {}
        for least in Varies:
            names: frozenset[str] = frozenset().union(
                *(reads for varies, reads in conditional if varies >= least)
            )
            own = frozenset(name for name in names if self._is_own(name.removeprefix(KNOWN)))
            found[least] = own, names - own
        return found

    def _is_own(self, name: str) -> bool:
        if name.startswith(FEATURE):
            return name.removeprefix(FEATURE) in self.candidate_features
        return name.startswith(("action.", "treatment."))

    @cached_property
    def action_variables(self) -> Mapping[str, Mapping[str, Value | datetime]]:
        """Return the variables of each action that are the same for all customers."""
        return {
            action_id: {
                "action.id": action_id,
                "action.group": action.group,
                "action.class": action.action_class,
                "action.purpose": action.purpose,
                **{f"action.{name}": value for name, value in self.action_attributes[action_id].items()},
            }
            for action_id, action in self.actions.items()
        }

    @cached_property
    def action_attributes(self) -> Mapping[str, Mapping[str, Value | datetime]]:
        """Return the attributes of each action as values of their declared types, weights left out."""
        declared = self.catalogue.attributes
        return {
            action_id: {
                name: native(declared[name], parse(declared[name], raw))
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
        None if start is None else midnight(start, zone),
        None if through is None else midnight(through + timedelta(days=1), zone),
    )
