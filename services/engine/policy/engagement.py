"""The engagement policy: eligibility, applicability, suitability, suppression and what stops an action."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from services.engine.playbook.expressions import Expression, Failed, Missing
from services.engine.playbook.rules import CompiledRule, Concerning
from services.engine.playbook.schema.policies import Rule
from services.engine.policy.verdicts import Verdict, Verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Why a candidate is out: the stage, the rule's name, a sentence for people.

    ``condition`` is what decided it, None where no expression did.
    """

    stage: str
    rule: str
    text: str
    condition: Expression | None = None


class EngagementPolicy:
    """Applies the policies of one decision to treatments.

    A permissive rule that stays undecided for a missing value, or ends in an error, removes; such a
    suppression suppresses, and such a ``stop_when`` stops. What all treatments of a kind share is asked
    once. In the control arm ``eligibility_only``, applicability and suitability rules bind only where
    they are protective.
    """

    def __init__(self, verdicts: Verdicts, arm: str = "") -> None:
        self._verdicts = verdicts
        self._is_lenient = arm == "eligibility_only"
        self._shared: dict[tuple[int, bool], CompiledRule | None] = {}

    def removal(
        self, concerning: Concerning, action_id: str, treatment_id: str, *, ignores_arms: bool
    ) -> Removal | None:
        """Return what removes a treatment first, in the order of the stages and of declaration."""
        is_lenient = self._is_lenient and not ignores_arms
        key = (id(concerning.shared), is_lenient)
        if key not in self._shared:
            self._shared[key] = self._first(concerning.shared, is_lenient)
        shared = self._shared[key]
        before = (rule for rule in concerning.own if shared is None or rule.place < shared.place)
        found = self._first(before, is_lenient, action_id, treatment_id) or shared
        if found is None:
            return None
        verdict = self._verdicts.of(found, action_id, treatment_id)
        text = sentence(found, verdict)
        return Removal(stage=found.section, rule=found.rule.name, text=text, condition=found.expression)

    def _first(
        self, rules: Iterable[CompiledRule], is_lenient: bool, action_id: str = "", treatment_id: str = ""
    ) -> CompiledRule | None:
        for rule in rules:
            if is_lenient and rule.section in _LENIENT and not _is_protective(rule):
                continue
            if self._verdicts.of(rule, action_id, treatment_id) is not rule.wanted:
                return rule
        return None


_LENIENT: Final = ("applicability", "suitability")


def _is_protective(rule: CompiledRule) -> bool:
    return isinstance(rule.rule, Rule) and rule.rule.protective


def sentence(rule: CompiledRule, verdict: Verdict) -> str:
    """Return the sentence of a rule that did not hold, and what it lacked."""
    text: str = rule.rule.text
    if isinstance(verdict, Missing):
        return f"{text} (missing: {verdict.name})"
    if isinstance(verdict, Failed):
        return f"{text} (the rule failed: {verdict.message})"
    return text
