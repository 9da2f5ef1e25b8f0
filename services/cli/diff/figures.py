"""What rows add up to: who gains and loses which action, and what is left to choose from."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

from services.cli.diff.rows import Answer, Pick, Row
from services.engine.playbook.playbook import Playbook

_MICROS = 1e6


class Both(NamedTuple):
    """A figure by OLD and by NEW."""

    old: float
    new: float

    @property
    def change(self) -> float:
        """Return by how much it rises."""
        return self.new - self.old


@dataclass(slots=True, kw_only=True)
class Moves:
    """How many decisions have an action by OLD and by NEW, and how many gain or lose it."""

    old: int = 0
    new: int = 0
    gained: int = 0
    lost: int = 0

    @property
    def total(self) -> int:
        """Return how many decisions gain or lose it."""
        return self.gained + self.lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A comparison of all rows or of a segment's.

    ``no_action``, ``choices`` and ``worth`` are means over decisions, ``worth`` in currency units;
    ``worth_as_before`` takes NEW's answers by the values and costs of OLD. ``changed`` counts other first
    actions, ``shifted`` the same first action by another treatment or at another time. ``first`` and
    ``ranked``, which counts all ranks, are by action, doing nothing included; what moves most is first, as
    are the largest ``flows`` between first actions, and of ``losses``, in any rank, the commonest reasons.
    """

    decisions: int
    customers: int
    no_action: Both
    choices: Both
    worth: Both
    worth_as_before: float
    changed: int
    shifted: int
    unchanged: int
    first: dict[str, Moves] = field(default_factory=dict)
    ranked: dict[str, Moves] = field(default_factory=dict)
    flows: list[tuple[tuple[str, str], int]] = field(default_factory=list)
    losses: list[tuple[tuple[str, str, str], int]] = field(default_factory=list)


def figures(rows: Sequence[Row], old: Playbook, new: Playbook) -> Figures:
    """Add up rows, of which there is at least one."""
    flows = Counter((row.old.first, row.new.first) for row in rows if row.old.first != row.new.first)
    reasons = Counter((loss.stage, loss.rule, loss.text) for row in rows for loss in row.losses)
    return Figures(
        decisions=len(rows),
        customers=len({row.customer_id for row in rows}),
        no_action=_mean(rows, lambda answer: float(not answer.picks)),
        choices=_mean(rows, lambda answer: float(answer.choices)),
        worth=Both(
            fmean(_worth(row.old, [old]) for row in rows), fmean(_worth(row.new, [new]) for row in rows)
        ),
        worth_as_before=fmean(_worth(row.new, [old, new]) for row in rows),
        changed=flows.total(),
        shifted=sum(_is_shifted(row) for row in rows),
        unchanged=sum(row.old.picks == row.new.picks for row in rows),
        first=_moves(rows, lambda answer: {answer.first}),
        ranked=_moves(rows, lambda answer: set(answer.actions)),
        flows=sorted(flows.items(), key=lambda flow: (-flow[1], flow[0])),
        losses=sorted(reasons.items(), key=lambda reason: (-reason[1], reason[0])),
    )


def _mean(rows: Sequence[Row], of: Callable[[Answer], float]) -> Both:
    return Both(fmean(of(row.old) for row in rows), fmean(of(row.new) for row in rows))


def _worth(answer: Answer, playbooks: Sequence[Playbook]) -> float:
    """Return the expected value of an answer, each action by the first playbook that has it.

    Of an action whose chance is not known, only the cost counts.
    """
    return math.fsum(_worth_of(pick, playbooks) for pick in answer.picks)


def _worth_of(pick: Pick, playbooks: Sequence[Playbook]) -> float:
    for playbook in playbooks:
        action = playbook.actions.get(pick.action_id)
        if action is not None and (treatment := action.treatments.get(pick.treatment_id)) is not None:
            return ((pick.propensity or 0.0) * action.value - treatment.cost) / _MICROS
    raise ValueError("an answer holds what neither playbook has")


def _is_shifted(row: Row) -> bool:
    return row.old.first == row.new.first and row.old.picks[:1] != row.new.picks[:1]


def _moves(rows: Sequence[Row], of: Callable[[Answer], set[str]]) -> dict[str, Moves]:
    """Count by action, those that move most first, ties by name."""
    found: defaultdict[str, Moves] = defaultdict(Moves)
    for row in rows:
        had, has = of(row.old), of(row.new)
        for action_id in had:
            found[action_id].old += 1
            found[action_id].lost += action_id not in has
        for action_id in has:
            found[action_id].new += 1
            found[action_id].gained += action_id not in had
    return dict(sorted(found.items(), key=lambda item: (-item[1].total, item[0])))
