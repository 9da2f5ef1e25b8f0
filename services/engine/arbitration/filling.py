"""A slate in the making."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.engine.arbitration.candidates import NOTHING, Candidate, Place
from services.engine.arbitration.chances import pick
from services.engine.arbitration.ranking import Ranking, Turn
from services.engine.playbook.schema.head import SlateLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A candidate at its rank.

    ``priority`` is that in the control arm. ``selection_probability`` is conditional on the ranks
    before and on the arm. ``bundle`` is the one that it follows in, ``""`` where it stands on its
    own, as the first member does. ``explored``: the draw preferred it to the best.
    """

    candidate: Candidate
    priority: float | None
    selection_probability: float
    bundle: str = ""
    explored: bool = False


class Filling:
    """Fills a slate rank by rank. The rules are those of ``slate``."""

    def __init__(
        self,
        *,
        ranking: Ranking,
        unscored: Sequence[Candidate],
        defaults: Sequence[Candidate],
        limits: SlateLimits,
        bundles: Mapping[str, Sequence[str]],
    ) -> None:
        self.ranked: list[Ranked] = []
        self.beaten: Candidate | None = None
        self.ended_by_draw = False
        self.end_probability = 1.0
        self.rank_one: Mapping[Place, float] = {NOTHING: 1.0}
        self._ranking, self._unscored, self._defaults = ranking, unscored, defaults
        self._scored = {one.place: one for _, one in ranking.plain}
        self._unsure = {one.place: one for one in (*unscored, *defaults)}
        self._most_per_group = limits.most_per_group or math.inf
        self._most_per_channel = limits.most_per_channel or math.inf
        self._bundles = {name: frozenset(bundles[name]) for name in bundles}
        self._begun: dict[str, None] = {}
        self._taken: set[str] = set()
        self._groups: Counter[str] = Counter()
        self._channels: Counter[str] = Counter()
        self._slots: Counter[str] = Counter()
        self._over = False

    def fill(self, certain: Sequence[Candidate], limit: int, draw: Callable[[int], float]) -> None:
        """Rank what is certain, then fill rank after rank, until the limit or the end."""
        for one in certain:
            if self._is_open(one) and len(self.ranked) < limit:
                self._add(one, probability=1.0)
        open_rank = len(self.ranked) + 1
        for rank in range(open_rank, limit + 1):
            bundle, turn = self._turn()
            if rank == open_rank:
                self.rank_one = {NOTHING: 0.0} | {place: p for place, p in turn.chances.items() if p > 0.0}
            place = pick(turn.chances, draw(rank)) if len(turn.chances) > 1 else next(iter(turn.chances))
            if not self._take(place, turn, bundle):
                return

    def _turn(self) -> tuple[str, Turn]:
        for bundle in self._begun:
            if (turn := self._following(self._bundles[bundle])) is not None:
                return bundle, turn
        return "", self._next()

    def _following(self, members: frozenset[str]) -> Turn | None:
        """Fill a rank from the members that a bundle still misses, if any of them can follow."""

        def free(one: Candidate) -> bool:
            return one.action_id in members and self._is_open(one)

        if self._ranking.first(free) is not None:
            return self._ranking.turn(free, with_nothing=False)
        one = next(filter(free, self._unscored), None)
        return None if one is None else Turn(best=one, chances={one.place: 1.0})

    def _next(self) -> Turn:
        """Fill a rank from everything; what stands where doing nothing would has its chance."""
        turn = Turn(best=None, chances={NOTHING: 1.0})
        if not self._over:
            turn = self._ranking.turn(self._is_free, with_nothing=True)
        instead = next(filter(self._is_free, self._unscored), None)
        if instead is None and not self.ranked:
            instead = next(filter(self._is_open, self._defaults), None)
        if instead is None or NOTHING not in turn.chances:
            return turn
        chances = {
            instead.place if place == NOTHING else place: chance for place, chance in turn.chances.items()
        }
        return Turn(best=turn.best or instead, chances=chances)

    def _take(self, place: Place, turn: Turn, bundle: str) -> bool:
        explored = place != (turn.best.place if turn.best else NOTHING)
        if not bundle and place not in self._scored and not self._over:
            self._over, self.ended_by_draw = True, explored
            self.beaten = self._ranking.first(self._is_free)
        if place == NOTHING:
            self.end_probability = turn.chances[NOTHING]
            return False
        one = self._scored.get(place) or self._unsure[place]
        self._add(one, probability=turn.chances[place], bundle=bundle, explored=explored)
        return True

    def _is_open(self, one: Candidate) -> bool:
        """Tell whether a candidate may be ranked whatever ``limits`` say: they bind nothing certain."""
        return one.action_id not in self._taken and all(self._slots[key] < left for key, left in one.slots)

    def _is_free(self, one: Candidate) -> bool:
        return (
            self._is_open(one)
            and self._groups[one.group] < self._most_per_group
            and self._channels[one.channel] < self._most_per_channel
        )

    def _add(self, one: Candidate, *, probability: float, bundle: str = "", explored: bool = False) -> None:
        self.ranked.append(
            Ranked(
                candidate=one,
                priority=one.priority_in(self._ranking.arm),
                selection_probability=probability,
                bundle=bundle,
                explored=explored,
            )
        )
        self._taken.add(one.action_id)
        self._groups[one.group] += 1
        self._channels[one.channel] += 1
        self._slots.update(key for key, _ in one.slots)
        self._begun |= {name: None for name, actions in self._bundles.items() if one.action_id in actions}
