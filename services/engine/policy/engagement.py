"""The engagement policy: eligibility, then applicability, then suitability."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.engine.playbook.expressions import Failed, Missing
from services.engine.playbook.playbook import CompiledRule, Playbook


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Why a candidate is out: the stage, the rule's name and a sentence for people."""

    stage: str
    rule: str
    text: str


def removals(
    playbook: Playbook,
    action_ids: Sequence[str],
    values: Mapping[str, Any],
    action_values: Callable[[str], Mapping[str, Any]],
) -> dict[str, Removal]:
    """Return the first rule that removes each action; actions that pass are absent.

    ``values`` holds the variables of the decision, ``action_values`` adds those of one action; a
    variable without an entry is missing. A rule that stays undecided for a missing value, or ends
    in an error, removes. An expression is evaluated once, and once for each
    action where it reads the action.
    """
    shared = playbook.environment.activation(values, playbook.rule_variables)
    expressions = {rule.expression for rule in playbook.rules if not rule.per_action}
    once = {expression: expression.evaluate(shared) for expression in expressions}
    removed: dict[str, Removal] = {}
    for action_id in action_ids:
        group, own, verdicts = playbook.actions[action_id].group, None, dict(once)
        for rule in playbook.rules:
            if not rule.concerns(action_id, group):
                continue
            if (verdict := verdicts.get(rule.expression)) is None:
                own = own or playbook.environment.activation(
                    {**values, **action_values(action_id)}, playbook.rule_variables
                )
                verdict = verdicts[rule.expression] = rule.expression.evaluate(own)
            if verdict is not True:
                removed[action_id] = Removal(
                    stage=rule.stage, rule=rule.rule.name, text=_sentence(rule, verdict)
                )
                break
    return removed


def _sentence(rule: CompiledRule, verdict: bool | Missing | Failed) -> str:
    if isinstance(verdict, Missing):
        return f"{rule.rule.text} (missing: {verdict.name})"
    if isinstance(verdict, Failed):
        return f"{rule.rule.text} (the rule failed: {verdict.message})"
    return rule.rule.text
