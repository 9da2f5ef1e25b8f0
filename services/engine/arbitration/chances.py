"""Chances: the probability of each place to be chosen next, and the choice by one draw."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from services.engine.arbitration.candidates import Place
from services.engine.playbook.schema.head import Epsilon, Softmax

Exploration = Softmax | Epsilon | None


def spread(priorities: Mapping[Place, float], exploration: Exploration) -> dict[Place, float]:
    """Return the chance of each place, of which there is at least one.

    Softmax is in proportion to ``exp(priority / temperature)``. Epsilon gives everything an equal part
    of ``epsilon`` and the rest to the best; so does no exploration, with an epsilon of 0. Of several
    best, the best is the first by its ids.
    """
    if isinstance(exploration, Softmax):
        return _softmax(priorities, exploration.temperature)
    epsilon = 0.0 if exploration is None else exploration.epsilon
    chances = dict.fromkeys(priorities, epsilon / len(priorities))
    chances[min(priorities, key=lambda place: (-priorities[place], place))] += 1.0 - epsilon
    return chances


def even(places: Collection[Place]) -> dict[Place, float]:
    """Return the same chance for each place."""
    return dict.fromkeys(places, 1.0 / len(places))


def pick(chances: Mapping[Place, float], point: float) -> Place:
    """Return the place at that point of [0, 1), which the places divide in the order of their ids.

    Where rounding leaves the sum below the point, it is the last place with a chance. A place
    without a chance is never picked.
    """
    edge, last = 0.0, None
    for place in sorted(place for place in chances if chances[place] > 0.0):
        edge, last = edge + chances[place], place
        if point < edge:
            break
    if last is None:
        raise ValueError("nothing has a chance")
    return last


def _softmax(priorities: Mapping[Place, float], temperature: float) -> dict[Place, float]:
    best = max(priorities.values())
    weights = {place: math.exp((priority - best) / temperature) for place, priority in priorities.items()}
    total = math.fsum(weights.values())
    return {place: weight / total for place, weight in weights.items()}
