"""The slate: what is offered, rank by rank, and with which probability."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.engine.arbitration.candidates import Candidate, Place, preferred
from services.engine.arbitration.chances import Exploration
from services.engine.arbitration.filling import Filling, Ranked
from services.engine.arbitration.ranking import ordered, ranking
from services.engine.playbook.schema.head import SlateLimits

__all__ = ["Ranked", "Slate", "slate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slate:
    """The choice, best first.

    ``beaten`` is the best candidate that was left when doing nothing ended the draws, None where it did
    not or nothing was left; ``ended_by_draw`` tells that this candidate was the better one and only
    the draw preferred doing nothing. ``end_probability`` is the probability that the slate is no
    longer, given its ranks: 1 where the limit or want of candidates ended it.

    ``rank_one`` is the distribution of the first rank that is open: rank 1, or the next after the
    mandatory actions, which are certain and not part of it. It sums to 1. ``do_nothing`` is always
    in it; what else is not in it has no chance.
    """

    ranked: tuple[Ranked, ...]
    beaten: Candidate | None
    ended_by_draw: bool
    end_probability: float
    rank_one: Mapping[Place, float]

    @property
    def probability(self) -> float:
        """Return the probability of this very slate, under its arm."""
        return math.prod(one.selection_probability for one in self.ranked) * self.end_probability


def slate(
    candidates: Sequence[Candidate],
    *,
    threshold_micros: int,
    limit: int,
    limits: SlateLimits,
    bundles: Mapping[str, Sequence[str]],
    exploration: Exploration,
    arm: str,
    draw: Callable[[int], float],
) -> Slate:
    """Choose at most ``limit`` candidates, one treatment an action; their order does not matter.

    - Only the ``preferred`` treatments of an action are considered.
    - Mandatory actions come first, by priority and then by their ids, each with its best treatment and
      probability 1. ``limits`` count them but cut none.
    - Then each rank is drawn, by ``draw(rank)``, from all treatments that are left and doing nothing,
      as ``exploration`` and ``arm`` say (see ``Ranking``). Without either the best is taken; ties
      fall to the smaller action id, then treatment id. What ``limits`` forbid is not in the draw.
      Doing nothing ends the draws.
    - After a member of a bundle the others that are left follow at once, drawn among themselves,
      without doing nothing and whatever ``limits`` say. Bundles that mandatory actions begin follow
      after the last of these. An action is in one bundle at most.
    - Candidates without a propensity take the ranks that are left when the draws have ended, best
      first. They are not compared with doing nothing: the first stands where doing nothing would,
      with its probability, and those after it are certain.
    - Of the class default the best one is taken where there would be nothing else. It too stands where
      doing nothing would, with its probability.
    - What finds one of its ``slots`` used up by the ranks before is passed over as if it were not there,
      everywhere: mandatory actions and members of bundles too.

    Raises:
        ValueError: ``limit`` is negative.
    """
    if limit < 0:
        raise ValueError("limit must not be negative")
    kept = preferred(candidates, arm)
    drawn = [one for one in kept if one.action_class in ("standard", "transactional")]
    filling = Filling(
        ranking=ranking(drawn, threshold_micros, exploration, arm),
        unscored=_best_first((one for one in drawn if one.propensity is None), arm),
        defaults=_best_first((one for one in kept if one.action_class == "default"), arm),
        limits=limits,
        bundles=bundles,
    )
    certain = _best_first((one for one in kept if one.action_class == "mandatory"), arm)
    filling.fill(certain, limit, draw)
    return Slate(
        ranked=tuple(filling.ranked),
        beaten=filling.beaten,
        ended_by_draw=filling.ended_by_draw,
        end_probability=filling.end_probability,
        rank_one=filling.rank_one,
    )


def _best_first(candidates: Iterable[Candidate], arm: str) -> list[Candidate]:
    return [one for _, one in ordered(candidates, arm)]
