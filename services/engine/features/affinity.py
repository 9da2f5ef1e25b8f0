"""``affinity``: how much of a customer's behaviour matches an action's attributes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from services.engine.features.history import Series
from services.engine.playbook import values
from services.engine.playbook.kinds import Affinity
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.schema.catalogue import Action


class Behaviour(NamedTuple):
    """A customer's amounts by word, in smallest ``units``; ``whole`` is all of them together."""

    amounts: Mapping[str, int]
    whole: int
    units: int


def behaviour(definition: Affinity, playbook: Playbook, series: Series, as_of: int) -> Behaviour:
    """Add up what actions are to be matched with, once for all of them."""
    units = 1 if definition.attribute is None else playbook.units(definition.event, definition.attribute)
    parts = series.divided(definition.by)
    amounts = {word: _amount(definition, part, as_of, units) for word, part in parts.items()}
    return Behaviour(amounts, sum(amounts.values()), units)


def compute(definition: Affinity, found: Behaviour, wanted: Mapping[str, float]) -> float:
    """Weigh the amounts by ``wanted``; a share is NaN where the whole amount is not positive."""
    amounts, whole, units = found
    matched = math.fsum(weight * amounts[word] for word, weight in wanted.items() if word in amounts)
    if definition.measure == "total":
        return matched / units
    return matched / whole if whole > 0 else math.nan


def weights(definition: Affinity, action_id: str, action: Action) -> Mapping[str, float] | None:
    """Return the words to match for an action, with weights; None where it declares none."""
    raw = action_id if definition.to == "id" else action.attributes.get(definition.to)
    if raw is None:
        return None
    return {raw: 1.0} if isinstance(raw, str) else values.parse_weights(raw)


def _amount(definition: Affinity, series: Series, as_of: int, units: int) -> int:
    start, end = series.bounds(as_of, definition.window)
    if definition.attribute is None:
        return end - start
    return series.total(definition.attribute, units, start, end)
