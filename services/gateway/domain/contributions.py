"""What each feature added to the score of a candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.gateway.domain.knowledge import Model, Vector

BIAS: Final = "bias"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one feature, or the bias, added to the log-odds; ``value`` is NaN where it was missing."""

    feature: str
    value: float
    amount: float


def weighed(model: Model, customer: Vector, row: Vector, amounts: Vector) -> Sequence[Contribution]:
    """Name the contributions to one candidate's score, the weightiest first; ties by name.

    ``customer`` and ``row`` hold the values in the order of the model's layout, ``amounts`` the
    contributions in that order, then the bias.

    Raises:
        ValueError: the lengths do not fit the layout.
    """
    of_customer, of_candidate = iter(customer.tolist()), iter(row.tolist())
    names = [name for name, _, _ in model.layout]
    values = [next(of_candidate if is_candidate else of_customer) for _, _, is_candidate in model.layout]
    found = [
        Contribution(feature=feature, value=value, amount=amount)
        for feature, value, amount in zip([*names, BIAS], [*values, math.nan], amounts.tolist(), strict=True)
    ]
    return sorted(found, key=lambda one: (-abs(one.amount), one.feature))
