"""``affinity``: how much of a customer's behaviour matches an action's attributes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from services.engine.features.history import Series
from services.engine.playbook import values
from services.engine.playbook.kinds import Affinity
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.schema.catalogue import Action


def compute(
    definition: Affinity, playbook: Playbook, series: Series, as_of: int, wanted: Mapping[str, float]
) -> float:
    """Weigh the amounts by ``wanted``; a share is NaN where the whole amount is not positive."""
    parts = series.divided(definition.by)
    words = parts if definition.measure == "share" else parts.keys() & wanted.keys()
    units = 1 if definition.attribute is None else playbook.units(definition.event, definition.attribute)
    amounts = {word: _amount(definition, parts[word], as_of, units) for word in sorted(words)}
    matched = math.fsum(wanted[word] * amount for word, amount in amounts.items() if word in wanted)
    if definition.measure == "total":
        return matched / units
    whole = sum(amounts.values())
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
