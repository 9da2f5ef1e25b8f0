"""One priority for each treatment, and the slate that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.engine.playbook.playbook import DO_NOTHING

_MICROS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A treatment that may be offered. Amounts are micro-units; ``propensity`` is None if unknown."""

    action_id: str
    treatment_id: str
    mandatory: bool
    propensity: float | None
    value_micros: int
    cost_micros: int

    @property
    def priority(self) -> float | None:
        """Return ``propensity x value - cost`` in currency units, None without a propensity."""
        if self.propensity is None:
            return None
        return (self.propensity * self.value_micros - self.cost_micros) / _MICROS


@dataclass(frozen=True, slots=True, kw_only=True)
class Slate:
    """The choice: ``ranked`` best first, and the best candidate that doing nothing beat, if any."""

    ranked: tuple[Candidate, ...]
    beaten: Candidate | None


def arbitrate(candidates: Sequence[Candidate], threshold_micros: int, limit: int) -> Slate:
    """Order candidates by priority, one treatment an action, until doing nothing is better.

    Mandatory actions come first. Doing nothing is a candidate whose priority is the threshold; it
    ends the slate. Ties fall to the smaller action id, then treatment id. A candidate without a
    propensity comes after all others of its kind, and is not compared with doing nothing.

    Raises:
        ValueError: ``limit`` is negative.
    """
    if limit < 0:
        raise ValueError("limit must not be negative")
    nothing = (-threshold_micros / _MICROS, DO_NOTHING, "")
    ranked: dict[str, Candidate] = {}
    beaten: Candidate | None = None
    for candidate in sorted(candidates, key=_order):
        if candidate.action_id in ranked:
            continue
        if not candidate.mandatory and candidate.priority is not None and _order(candidate)[2:] > nothing:
            beaten = beaten or candidate
            continue
        ranked[candidate.action_id] = candidate
    return Slate(ranked=tuple(ranked.values())[:limit], beaten=beaten)


def _order(candidate: Candidate) -> tuple[bool, bool, float, str, str]:
    priority = candidate.priority
    return (
        not candidate.mandatory,
        priority is None,
        -(priority or 0.0),
        candidate.action_id,
        candidate.treatment_id,
    )
