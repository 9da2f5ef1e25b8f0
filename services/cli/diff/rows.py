"""One decision on record by both playbooks, as small as the comparison needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from services.engine.playbook.playbook import DO_NOTHING, Playbook
from services.engine.policy.engagement import Removal
from services.gateway.domain.decision import Decision, Fate

_DYNAMIC: Final[Mapping[str, str]] = {
    "minimum_propensity": "The chance of success is less than the least that the playbook asks for.",
    "missing_content": "A value that its text needs is missing.",
}
"""Sentences of what removes without a line in ``policies.yaml`` and says something else each time."""


class Pick(NamedTuple):
    """One action of an answer; ``propensity`` is None where it was not known."""

    action_id: str
    treatment_id: str
    not_before: datetime
    propensity: float | None


class Loss(NamedTuple):
    """An action of OLD's answer that NEW's does not have, and why."""

    action_id: str
    stage: str
    rule: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one playbook answers, best first; ``choices`` counts the candidates that were arbitrated."""

    picks: tuple[Pick, ...] = ()
    choices: int = 0

    @property
    def first(self) -> str:
        """Return the first action, which is to do nothing where there is none."""
        return self.picks[0].action_id if self.picks else DO_NOTHING

    @property
    def actions(self) -> list[str]:
        """Return all actions, or to do nothing."""
        return [pick.action_id for pick in self.picks] or [DO_NOTHING]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One decision on record.

    ``agrees`` tells whether OLD's answer is the one on record, None where another playbook made that.
    ``segments`` holds the values that it is divided by, None where missing.
    """

    customer_id: str
    decision_id: str
    time: datetime
    live: bool
    agrees: bool | None
    old: Answer
    new: Answer
    losses: tuple[Loss, ...]
    segments: tuple[object, ...]


def answer_of(decision: Decision | None) -> Answer:
    """Return an answer; an empty one where nothing could be asked for."""
    if decision is None:
        return Answer()
    return Answer(
        picks=tuple(
            Pick(*chosen.fate.key, chosen.place.not_before, chosen.candidate.propensity)
            for chosen in decision.actions
        ),
        choices=sum(fate.candidate is not None for fate in decision.fates),
    )


def losses(old: Answer, new: Answer, playbook: Playbook, decision: Decision | None) -> Iterator[Loss]:
    """Yield what ``decision``, made by the ``playbook`` NEW, has no more of, and what removed it there."""
    fates = {} if decision is None else {fate.key: fate for fate in decision.fates}
    kept = set(new.actions)
    for pick in old.picks:
        if pick.action_id not in kept:
            fate = fates.get((pick.action_id, pick.treatment_id))
            yield Loss(pick.action_id, *_why(pick, fate, new, playbook))


def _why(pick: Pick, fate: Fate | None, new: Answer, playbook: Playbook) -> tuple[str, str, str]:
    if fate is None:
        action = playbook.actions.get(pick.action_id)
        if action is None or pick.treatment_id not in action.treatments:
            return "candidates", "gone", "The playbook does not have it."
        return "candidates", "not_live", "It is not live at that time."
    if fate.removal is not None:
        return fate.removal.stage, fate.removal.rule, _sentence(fate.removal, playbook)
    if new.picks:
        return "arbitration", "outranked", "It is still possible, but others come first."
    return "arbitration", "threshold", "It is still possible, but doing nothing is better."


def _sentence(removal: Removal, playbook: Playbook) -> str:
    """Return the rule's own sentence, without what it says of a single customer."""
    named = {rule.rule.name: rule.rule.text for rule in playbook.rules.rules}
    return named.get(removal.rule) or _DYNAMIC.get(removal.rule) or removal.text
