"""What came of making a decision on record again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from services.gateway.domain.decision import Decision
from services.gateway.domain.knowledge import Model
from services.gateway.domain.making import Edition
from services.gateway.domain.remaking import Recorded
from services.gateway.domain.scoring import matrices
from services.gateway.domain.situation import candidate_values

MOST_DIFFERENCES: Final = 100
SAME: Final = 1e-9
"""Scores, and numbers that rest on them, are the same up to this absolute difference."""

Seal = Literal["intact", "damaged", "absent"]
Verdict = Literal["IDENTICAL", "DIFFERENT", "IMPOSSIBLE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field in which a decision and its replay differ; a text is empty where the field is absent.

    ``field`` is a path in the answer such as ``actions[0].priority``, or in the record.
    """

    field: str
    recorded: str = ""
    replayed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A decision compared with its replay.

    ``differences`` are the first ones by field, ``missing`` what a replay needs and does not find.
    ``score_difference`` is the largest between scores on record and now, None where nothing was
    scored again.
    """

    differences: Sequence[Difference] = ()
    missing: Sequence[str] = ()
    is_damaged: bool = False
    score_difference: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Return what came of it: what differs, does so whatever is missing beside."""
        if self.is_damaged or self.differences:
            return "DIFFERENT"
        return "IMPOSSIBLE" if self.missing else "IDENTICAL"


def rescored(recorded: Recorded, propensities: Mapping[str, float]) -> tuple[Recorded, float]:
    """Put new scores, by action, in the place of those on record; return the largest difference, too."""
    changed, differences = dict(recorded.candidates), [0.0]
    for key, candidate in recorded.candidates.items():
        if candidate.propensity is not None:
            propensity = propensities[key[0]]
            changed[key] = replace(candidate, propensity=propensity)
            differences.append(abs(propensity - candidate.propensity))
    return replace(recorded, candidates=changed), max(differences)


def revectored(edition: Edition, decision: Decision, model: Model) -> Decision:
    """Compute anew what the model is shown of a decision that it scored; changes its fates."""
    situation = decision.situation
    if situation is None or (features := situation.features) is None:
        return decision
    scored = [fate for fate in decision.fates if fate.propensity is not None]
    customer, rows = matrices(
        model,
        {**situation.computed, **features.customer},
        [candidate_values(edition.feature_set, features, fate.action_id) for fate in scored],
    )
    for fate, row in zip(scored, rows, strict=True):
        fate.vector = row.tobytes()
    return replace(decision, customer_vector=customer.tobytes())
