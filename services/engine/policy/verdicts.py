"""What conditions come to in one decision; each is evaluated as seldom as it can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.engine.playbook.expressions import KNOWN, Activation, Expression, Failed, Missing, bind
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.rules import CompiledRule, Varies

Verdict = bool | Missing | Failed
Asked = tuple[str, str, str]
"""The text of a condition, and the action and treatment that it was asked about, where it varies."""


class Verdicts:
    """Evaluates each distinct condition once a decision, or once for each action or treatment.

    ``values`` holds the variables of the decision, ``action_values`` returns those of one action,
    ``withheld`` the verdicts of conditions whose borrowed values are not at hand any more, as in a
    replay. A variable without an entry is missing. After use, ``borrowed`` holds the verdicts of
    conditions that read a borrowed value, and ``failed`` the names of rules that ended in an error.
    """

    def __init__(
        self,
        playbook: Playbook,
        values: Mapping[str, Any],
        action_values: Callable[[str], Mapping[str, Any]],
        withheld: Mapping[Asked, Verdict] | None = None,
    ) -> None:
        self._playbook = playbook
        self._values = values
        self._action_values = action_values
        self._withheld = withheld or {}
        self._activations: dict[tuple[str, str], Activation] = {}
        self._shared: dict[Varies, dict[str, Any]] = {}
        self._known: dict[tuple[Expression, str, str], Verdict] = {}
        self.borrowed: dict[Asked, Verdict] = {}
        self.failed: set[str] = set()

    def of(self, rule: CompiledRule, action_id: str = "", treatment_id: str = "") -> Verdict:
        """Return the verdict of a rule's condition on a treatment; true where it has none."""
        expression = rule.expression
        if expression is None:
            return True
        if rule.varies is not Varies.BY_TREATMENT:
            treatment_id = ""
        if rule.varies is Varies.BY_DECISION:
            action_id = ""
        key = (expression, action_id, treatment_id)
        if (verdict := self._known.get(key)) is None:
            verdict = self._known[key] = self._evaluate(*key)
        if isinstance(verdict, Failed):
            self.failed.add(rule.rule.name)
        return verdict

    def values_of(self, action_id: str, treatment_id: str) -> Mapping[str, Any]:
        """Return all variables as conditions on a treatment see them."""
        return {**self._values, **self._own_values(action_id, treatment_id)}

    def _evaluate(self, expression: Expression, action_id: str, treatment_id: str) -> Verdict:
        asked = (expression.text, action_id, treatment_id)
        if (withheld := self._withheld.get(asked)) is not None:
            self.borrowed[asked] = withheld
            return withheld
        verdict = expression.evaluate(self._activation(action_id, treatment_id))
        if any(name.removeprefix(KNOWN) in self._playbook.borrowed for name in expression.reads):
            # An error's text could quote the value.
            verdict = Failed(message="withheld") if isinstance(verdict, Failed) else verdict
            self.borrowed[asked] = verdict
        return verdict

    def _activation(self, action_id: str, treatment_id: str) -> Activation:
        key = (action_id, treatment_id)
        if (known := self._activations.get(key)) is None:
            varies = Varies(bool(action_id) + bool(treatment_id))
            own, shared = self._playbook.variables_of(varies)
            if (bound := self._shared.get(varies)) is None:
                bound = self._shared[varies] = bind(self._values, shared)
            if varies is not Varies.BY_DECISION:
                bound = bound | bind(self._own_values(action_id, treatment_id), own)
            known = self._activations[key] = self._playbook.environment.activate(bound)
        return known

    def _own_values(self, action_id: str, treatment_id: str) -> Mapping[str, Any]:
        values = self._action_values(action_id)
        if not treatment_id:
            return values
        channel = self._playbook.actions[action_id].treatments[treatment_id].channel
        return {**values, "treatment.id": treatment_id, "treatment.channel": channel}
