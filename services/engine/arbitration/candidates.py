"""What may be offered: treatments with the factors of their worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from services.engine.playbook.playbook import DO_NOTHING
from services.engine.playbook.schema.catalogue import ActionClass

Place = tuple[str, str]
"""An action id and a treatment id."""
Key = tuple[float, str, str]
"""What candidates are ordered by, the best first: the negated priority, then the ids."""

NOTHING: Final[Place] = (DO_NOTHING, "")
_MICROS: Final = 1e6
_EXEMPT: Final = frozenset({"mandatory", "transactional"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A treatment that may be offered, unique by action and treatment id.

    ``propensity`` is None where it is unknown. Amounts are micro-units; ``measures_micros`` is the sum
    of the expected measures, each times its worth. ``not_before`` is the earliest moment to deliver
    it, in microseconds since 1970; ``delay_seconds`` is how long it then takes to be noticed.
    ``extra_cost_micros`` is what earlier contacts add to the cost. ``slots`` are the caps on contacts,
    each with what shares its slots, the same for all who do, and how many of them are left.
    """

    action_id: str
    treatment_id: str
    group: str
    channel: str
    action_class: ActionClass
    propensity: float | None
    value_micros: int
    cost_micros: int
    extra_cost_micros: int = 0
    measures_micros: int = 0
    weight: float = 1.0
    lever: float = 1.0
    consented: bool = True
    urgent: bool = False
    delay_seconds: float = math.inf
    not_before: int = 0
    slots: tuple[tuple[str, int], ...] = ()

    @property
    def place(self) -> Place:
        """Return the ids by which it is known in the slate."""
        return self.action_id, self.treatment_id

    @property
    def ignores_arms(self) -> bool:
        """Tell whether it is treated as without a control arm: mandatory or transactional."""
        return self.action_class in _EXEMPT

    @property
    def priority(self) -> float | None:
        """Return the priority in currency units, None without a propensity.

        ``(lever x weight x propensity x value - cost + measures) / 1e6``, in floats and in this order,
        so that a replay gives the same bits. The cost is the sum of both costs.
        """
        return self._worth(self.lever)

    def priority_in(self, arm: str) -> float | None:
        """Return the priority under a control arm; ``""`` is none.

        In ``no_levers`` the lever is 1, in ``propensity_only`` the priority is the propensity; no
        other arm changes it, and none that of what ignores arms.
        """
        if self.ignores_arms:
            return self.priority
        if arm == "propensity_only":
            return self.propensity
        return self._worth(1.0 if arm == "no_levers" else self.lever)

    def _worth(self, lever: float) -> float | None:
        if self.propensity is None:
            return None
        worth = lever * self.weight * self.propensity * self.value_micros
        cost = self.cost_micros + self.extra_cost_micros
        return (worth - cost + self.measures_micros) / _MICROS


def key(candidate: Candidate, priority: float | None) -> Key:
    """Return what orders a candidate of that priority; without one it comes after all others."""
    return math.inf if priority is None else -priority, candidate.action_id, candidate.treatment_id


def nothing_key(threshold_micros: int, arm: str) -> Key:
    """Return what orders doing nothing among candidates: its priority is the threshold.

    In ``propensity_only``, where priorities are no amounts, it is 0.
    """
    return 0.0 if arm == "propensity_only" else -threshold_micros / _MICROS, *NOTHING


def preferred(candidates: Iterable[Candidate], arm: str) -> list[Candidate]:
    """Leave the treatments of each action that may be chosen.

    An urgent action keeps one: the earliest, of these one with consent, then the one noticed soonest,
    then the first by ``key``. Of a mandatory or transactional action, those without consent go
    where others have it.
    """
    actions: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        actions.setdefault(candidate.action_id, []).append(candidate)
    return [one for treatments in actions.values() for one in _of_action(treatments, arm)]


def _of_action(treatments: Sequence[Candidate], arm: str) -> Sequence[Candidate]:
    if treatments[0].urgent:
        return [min(treatments, key=lambda one: _urgency(one, arm))]
    if treatments[0].ignores_arms:
        return [one for one in treatments if one.consented] or treatments
    return treatments


def _urgency(one: Candidate, arm: str) -> tuple[int, bool, float, Key]:
    return one.not_before, not one.consented, one.delay_seconds, key(one, one.priority_in(arm))
