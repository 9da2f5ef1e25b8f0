"""Control arms side by side: what customers of each did and brought, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.evaluation.intervals import (
    Estimate,
    mean,
    mean_difference,
    share,
    share_difference,
    split_p_value,
)

NO_ARM: Final = ""
"""The arm of most customers, with whom the others are compared."""
BROKEN_BELOW: Final = 0.001
"""A split less likely than that is no work of chance."""
FEWEST_SUCCESSES: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """What came of all decisions about one customer.

    ``answered`` counts decisions that offered something, ``reported`` the reports by kind.
    ``value`` is in currency units, costs taken off; ``measures`` are means of the customer's own.
    """

    arm: str
    decisions: int
    answered: int
    reported: Mapping[str, int]
    succeeded: bool
    value: float
    measures: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The share of customers in an arm, expected and observed; None where it is not known.

    ``p_value`` tells how likely the difference is by chance.
    """

    expected: float | None
    observed: float | None
    p_value: float | None

    @property
    def is_broken(self) -> bool:
        """Tell whether something else than chance moved customers, so that arms are not alike."""
        return self.p_value is not None and self.p_value < BROKEN_BELOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The mean of a measure over the customers of whom it was reported."""

    customers: int
    mean: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm; differences are this arm minus no arm, None for that one itself.

    ``is_thin``: were both sides alike, fewer than ten customers of the smaller one would have
    succeeded, too few for the intervals of value to be as wide as they should.
    """

    name: str
    customers: int
    decisions: int
    answered: int
    reported: Mapping[str, int]
    split: Split
    succeeded: int
    success: Estimate | None
    value: Estimate | None
    measures: Mapping[str, Measured]
    success_difference: Estimate | None = None
    value_difference: Estimate | None = None
    is_thin: bool = False


def compare_arms(customers: Iterable[Customer], expected: Mapping[str, float | None]) -> list[Arm]:
    """Report each arm, no arm first, then by name.

    ``expected`` holds the declared arms and their shares, None where a share is not known; arms
    without customers are reported with zeros.
    """
    members: dict[str, list[Customer]] = {name: [] for name in (NO_ARM, *sorted(expected))}
    for customer in customers:
        members.setdefault(customer.arm, []).append(customer)
    total = sum(map(len, members.values()))
    shares = _shares(expected)
    plain = members[NO_ARM]
    return [
        _arm(name, members[name], plain, _split(len(members[name]), total, shares.get(name)))
        for name in sorted(members)
    ]


def _shares(expected: Mapping[str, float | None]) -> dict[str, float | None]:
    known = [one for one in expected.values() if one is not None]
    rest = 1.0 - sum(known) if len(known) == len(expected) else None
    return {**expected, NO_ARM: rest}


def _split(customers: int, total: int, expected: float | None) -> Split:
    return Split(
        expected=expected,
        observed=customers / total if total else None,
        p_value=None if expected is None else split_p_value(customers, total, expected),
    )


def _arm(name: str, own: Sequence[Customer], plain: Sequence[Customer], split: Split) -> Arm:
    succeeded, others = _successes(own), _successes(plain)
    values, against = _values(own), _values(plain)
    is_compared, reported = name != NO_ARM, Counter[str]()
    for one in own:
        reported.update(one.reported)
    return Arm(
        name=name,
        customers=len(own),
        decisions=sum(one.decisions for one in own),
        answered=sum(one.answered for one in own),
        reported=reported,
        split=split,
        succeeded=succeeded,
        success=share(succeeded, len(own)),
        value=mean(values),
        measures=_measures(own),
        success_difference=share_difference(succeeded, len(own), others, len(plain)) if is_compared else None,
        value_difference=mean_difference(values, against) if is_compared else None,
        is_thin=is_compared and _is_thin(succeeded + others, len(own), len(plain)),
    )


def _is_thin(succeeded: int, own: int, plain: int) -> bool:
    smaller = min(own, plain)
    return not smaller or succeeded * smaller / (own + plain) < FEWEST_SUCCESSES


def _successes(customers: Iterable[Customer]) -> int:
    return sum(one.succeeded for one in customers)


def _values(customers: Sequence[Customer]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([one.value for one in customers], dtype=np.float64)


def _measures(customers: Iterable[Customer]) -> dict[str, Measured]:
    found: dict[str, list[float]] = {}
    for customer in customers:
        for name, number in customer.measures.items():
            found.setdefault(name, []).append(number)
    means = {name: mean(np.array(found[name])) for name in sorted(found)}
    return {
        name: Measured(customers=len(found[name]), mean=estimate)
        for name, estimate in means.items()
        if estimate is not None
    }
