"""The nearest change that would have put the runner-up first."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from services.engine.arbitration.candidates import Candidate, Key, key, nothing_key

_MOST: Final = 10**15
"""The largest amount that a playbook may name, in micro-units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestChange:
    """A factor on the lever or another value, each enough alone; None where none is."""

    lever: float | None
    value_micros: int | None


def nearest_change(winner: Candidate | None, runner_up: Candidate, threshold_micros: int) -> NearestChange:
    """Return the least change of lever, and of value, that puts the runner-up first.

    ``winner`` is what ranked first, None where doing nothing did. A winner without a propensity or of
    the class default stood where doing nothing would, which is then what is to beat. The lever's
    factor is the nearest to 1: above it, or below it where the value is negative. The value is in
    whole micro-units and at most what a playbook may name.

    Nothing helps against a mandatory winner, a runner-up without a propensity, or one of the class
    default where anything else won. It is about the best, not the draw, and about decisions
    outside of the ``ARBITRATING_ARMS``.
    """
    bar = _bar(winner, runner_up, threshold_micros)
    if bar is None or runner_up.propensity is None:
        return NearestChange(lever=None, value_micros=None)

    def wins(lever: float, value_micros: int) -> bool:
        changed = replace(runner_up, lever=lever, value_micros=value_micros)
        return key(changed, changed.priority) < bar

    return NearestChange(
        lever=_factor(lambda factor: wins(runner_up.lever * factor, runner_up.value_micros)),
        value_micros=_value(lambda value: wins(runner_up.lever, value), runner_up.value_micros),
    )


def _bar(winner: Candidate | None, runner_up: Candidate, threshold_micros: int) -> Key | None:
    """Return the key to stand before, None where that would not help."""
    nothing = nothing_key(threshold_micros, "")
    if winner is not None and _league(winner) == _league(runner_up):
        its_key = key(winner, winner.priority)
        return min(its_key, nothing) if _league(winner) == "drawn" else its_key
    beats_nothing = winner is None or winner.action_class == "default"
    return nothing if beats_nothing and _league(runner_up) == "drawn" else None


def _league(one: Candidate) -> str:
    return one.action_class if one.action_class in ("mandatory", "default") else "drawn"


def _factor(wins: Callable[[float], bool]) -> float | None:
    """Return the factor nearest to 1 that wins; winning is monotone in it."""
    if wins(1.0):
        return 1.0
    fails, enough = 1.0, 0.0
    if not wins(enough):
        enough = 2.0
        while not wins(enough):
            fails, enough = enough, enough * 2.0
            if math.isinf(enough):
                return None
    while (middle := (fails + enough) / 2.0) not in (fails, enough):
        fails, enough = (fails, middle) if wins(middle) else (middle, enough)
    return enough


def _value(wins: Callable[[int], bool], value: int) -> int | None:
    """Return the least value from the present one on that wins."""
    values = range(value, _MOST + 1)
    index = bisect_left(values, True, key=wins)
    return values[index] if index < len(values) else None
