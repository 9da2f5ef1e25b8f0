"""Shares and means over independent customers, how they differ, and how sure that is.

All intervals are two-sided at 95 %. Customers are the unit: whoever has several rows is first made
one number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, bdtrc, stdtrit

Vector = npt.NDArray[np.float64]

_UPPER: Final = 0.975
_Z: Final = 1.959963984540054
_EVEN: Final = 1e-6
"""The skewness below which correcting for it changes nothing that a float could show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A point estimate and its 95 % interval; bounds are None where the data cannot tell any."""

    value: float
    low: float | None = None
    high: float | None = None


def share(successes: int, customers: int) -> Estimate | None:
    """Return the share of customers with a success, None where there are no customers.

    The score interval (E. B. Wilson, 1927), which holds for few customers and rare successes too.

    >>> round(share(0, 10).high, 4)
    0.2775
    """
    if not customers:
        return None
    value, weight = successes / customers, _Z**2 / customers
    middle = (value + weight / 2) / (1 + weight)
    reach = _Z / (1 + weight) * math.sqrt(value * (1 - value) / customers + weight / (4 * customers))
    # Rounding must not put a bound on the wrong side of a share of 0 or 1, nor outside.
    low, high = max(0.0, min(value, middle - reach)), min(1.0, max(value, middle + reach))
    return Estimate(value=value, low=low, high=high)


def share_difference(successes: int, customers: int, others: int, among: int) -> Estimate | None:
    """Return the share of ``successes`` minus that of ``others``; None where one side is empty.

    From the score intervals of both (R. G. Newcombe, 1998, method 10).
    """
    one, other = share(successes, customers), share(others, among)
    if one is None or other is None:
        return None
    value = one.value - other.value
    below = math.hypot(one.value - _low(one), _high(other) - other.value)
    above = math.hypot(_high(one) - one.value, other.value - _low(other))
    return Estimate(value=value, low=value - below, high=value + above)


def mean(numbers: Vector) -> Estimate | None:
    """Return the mean; None of nothing, without bounds where all numbers are alike.

    Student's interval, corrected for skewness (P. Hall, "On the removal of skewness by
    transformation", 1992): worth is nothing for most customers and much for a few, so means lie
    below their expectation more often than above.
    """
    if not len(numbers):
        return None
    moments = _moments(numbers)
    return _corrected(float(numbers.mean()), moments.variance, moments.third, len(numbers) - 1)


def mean_difference(numbers: Vector, others: Vector) -> Estimate | None:
    """Return the mean of ``numbers`` minus that of ``others``; None where one side is empty.

    The interval of B. L. Welch (1947), as variances differ, corrected for skewness (X.-H. Zhou and
    P. Dinh, 2005). Without bounds where a side has a single customer or nothing varies.
    """
    if not len(numbers) or not len(others):
        return None
    value = float(numbers.mean() - others.mean())
    if len(numbers) < 2 or len(others) < 2:
        return Estimate(value=value)
    one, other = _moments(numbers), _moments(others)
    variance = one.variance + other.variance
    parts = one.variance**2 / (len(numbers) - 1) + other.variance**2 / (len(others) - 1)
    freedom = variance**2 / parts if parts else 0.0
    return _corrected(value, variance, one.third - other.third, freedom)


def split_p_value(customers: int, total: int, expected: float) -> float:
    """Return how likely a split at least so far from ``expected`` is by chance.

    The exact binomial test, twice the smaller tail. 1 of no customers.

    >>> split_p_value(50, 100, 0.5)
    1.0
    """
    if not total:
        return 1.0
    tail = min(bdtr(customers, total, expected), bdtrc(customers - 1, total, expected) if customers else 1.0)
    return min(1.0, 2 * float(tail))


@dataclass(frozen=True, slots=True)
class _Moments:
    """The central moments of a mean, estimated."""

    variance: float
    third: float


def _moments(numbers: Vector) -> _Moments:
    count, apart = len(numbers), numbers - numbers.mean()
    if count < 2 or (numbers == numbers[0]).all():
        return _Moments(0.0, 0.0)
    return _Moments(float(apart @ apart) / (count - 1) / count, float((apart**3).mean()) / count**2)


def _corrected(value: float, variance: float, third: float, freedom: float) -> Estimate:
    if not variance > 0.0:
        return Estimate(value=value)
    error, quantile = math.sqrt(variance), float(stdtrit(freedom, _UPPER))
    skewness = third / error**3
    low, high = (value - error * _plain(bound, skewness) for bound in (quantile, -quantile))
    return Estimate(value=value, low=low, high=high)


def _plain(quantile: float, skewness: float) -> float:
    """Turn a quantile of the corrected statistic into one of the studentised mean."""
    if abs(skewness) < _EVEN:
        return quantile
    return 3.0 / skewness * (math.cbrt(1.0 + skewness * (quantile - skewness / 6.0)) - 1.0)


def _low(estimate: Estimate) -> float:
    return estimate.value if estimate.low is None else estimate.low


def _high(estimate: Estimate) -> float:
    return estimate.value if estimate.high is None else estimate.high
