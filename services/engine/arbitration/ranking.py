"""How one rank is filled: the best of what is left, or a draw from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from services.engine.arbitration.candidates import NOTHING, Candidate, Key, Place, key, nothing_key
from services.engine.arbitration.chances import Exploration, even, spread

Entry = tuple[Key, Candidate]
Free = Callable[[Candidate], bool]
"""Tells whether a candidate may be chosen at this rank."""

ARBITRATING_ARMS: Final = frozenset({"no_levers", "propensity_only", "random_eligible"})
"""The control arms that change how a rank is filled."""
_LAST: Final[Key] = (math.inf, "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A rank before the draw: the best, None for doing nothing, and the chance of each place."""

    best: Candidate | None
    chances: dict[Place, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Fills one rank after the other from candidates that all have a propensity.

    In an arm that changes arbitration, what ignores arms keeps the chance that it has without. A rank
    is filled as if in three steps. First as without the arm: if that yields something that ignores
    arms, it stands. Else by the rule of the arm, from the others and doing nothing. If that gives
    up another candidate for doing nothing, as without the arm from what ignores arms and doing
    nothing. So no arm makes a transactional action less likely to come next.
    """

    plain: Sequence[Entry]
    """All, in their order without an arm."""
    exempt: Sequence[Entry]
    """Those that ignore arms, if the arm changes arbitration; else none."""
    others: Sequence[Entry]
    """The rest, in their order in the arm."""
    plain_nothing: Key
    nothing: Key
    exploration: Exploration
    arm: str

    def turn(self, free: Free, *, with_nothing: bool) -> Turn:
        """Return the chances of what is free, and of doing nothing where it may be chosen.

        Something must be free, or doing nothing be allowed.
        """
        best = self._best(free, with_nothing)
        if self.exploration is None and self.arm != "random_eligible":
            return Turn(best=best, chances={best.place if best else NOTHING: 1.0})
        return Turn(best=best, chances=self._chances(free, with_nothing))

    def first(self, free: Free) -> Candidate | None:
        """Return the best that is free, be it better than doing nothing or not."""
        return _first(self.others, free, _LAST) or _first(self.exempt, free, _LAST)

    def _best(self, free: Free, with_nothing: bool) -> Candidate | None:
        plain_bar, bar = (self.plain_nothing, self.nothing) if with_nothing else (_LAST, _LAST)
        if self.exempt:
            best = _first(self.plain, free, plain_bar)
            if best is not None and best.ignores_arms:
                return best
        return _first(self.others, free, bar) or _first(self.exempt, free, plain_bar)

    def _chances(self, free: Free, with_nothing: bool) -> dict[Place, float]:
        others, exempt = _left(self.others, free), _left(self.exempt, free)
        if not exempt:
            return self._by_arm(others, with_nothing)
        chances = self._as_without(_left(self.plain, free), with_nothing)
        if not others:
            return chances
        given_up = math.fsum(chances.pop(one.place) for _, one in others)
        nothing = chances.pop(NOTHING, 0.0)
        by_arm = self._by_arm(others, with_nothing)
        idle = by_arm.pop(NOTHING, 0.0)
        chances |= {place: chance * (given_up + nothing) for place, chance in by_arm.items()}
        if not with_nothing:
            return chances
        again = self._as_without(exempt, with_nothing)
        for _, one in exempt:
            chances[one.place] += given_up * idle * again[one.place]
        chances[NOTHING] = nothing * idle + given_up * idle * again[NOTHING]
        return chances

    def _by_arm(self, entries: Sequence[Entry], with_nothing: bool) -> dict[Place, float]:
        priorities = _priorities(entries, self.nothing if with_nothing else None)
        return even(priorities) if self.arm == "random_eligible" else spread(priorities, self.exploration)

    def _as_without(self, entries: Sequence[Entry], with_nothing: bool) -> dict[Place, float]:
        return spread(_priorities(entries, self.plain_nothing if with_nothing else None), self.exploration)


def ranking(
    candidates: Iterable[Candidate], threshold_micros: int, exploration: Exploration, arm: str
) -> Ranking:
    """Order the candidates that have a propensity and leave out the rest."""
    scored = [one for one in candidates if one.propensity is not None]
    exempt: list[Entry] = []
    plain = others = ordered(scored, "")
    if arm in ARBITRATING_ARMS:
        exempt = [entry for entry in plain if entry[1].ignores_arms]
        others = ordered((one for one in scored if not one.ignores_arms), arm)
    return Ranking(
        plain=plain,
        exempt=exempt,
        others=others,
        plain_nothing=nothing_key(threshold_micros, ""),
        nothing=nothing_key(threshold_micros, arm),
        exploration=exploration,
        arm=arm,
    )


def ordered(candidates: Iterable[Candidate], arm: str) -> list[Entry]:
    """Return candidates with their keys in an arm, the best first."""
    return sorted(((key(one, one.priority_in(arm)), one) for one in candidates), key=itemgetter(0))


def _first(entries: Sequence[Entry], free: Free, bar: Key) -> Candidate | None:
    for its_key, one in entries:
        if its_key > bar:
            return None
        if free(one):
            return one
    return None


def _left(entries: Sequence[Entry], free: Free) -> list[Entry]:
    return [entry for entry in entries if free(entry[1])]


def _priorities(entries: Sequence[Entry], nothing: Key | None) -> dict[Place, float]:
    priorities = {one.place: -its_key[0] for its_key, one in entries}
    return priorities if nothing is None else {**priorities, NOTHING: -nothing[0]}
