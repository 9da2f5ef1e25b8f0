"""Intervals by resampling customers, since the rows of one customer are not independent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.metrics import Labels, Metric, Vector

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A point estimate and its 95 % percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric's value on the rows themselves and on each resample of them."""

    value: float
    replicates: Vector

    def interval(self) -> Interval:
        """Take the interval from the resamples' quantiles."""
        low, high = np.quantile(self.replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(value=self.value, low=float(low), high=float(high))

    def minus(self, other: Estimate) -> Estimate:
        """Return the paired difference; both must come from one bootstrap."""
        return Estimate(value=self.value - other.value, replicates=self.replicates - other.replicates)


class CustomerBootstrap:
    """Resamples of whole customers, the same ones for every score, so that differences are paired.

    The cluster bootstrap with percentile intervals (A. C. Davison and D. V. Hinkley, "Bootstrap
    Methods and their Application", 1997, sections 3.8 and 5.3). A resample of one class only
    says nothing and is drawn anew.
    """

    def __init__(self, customers: npt.ArrayLike, labels: Labels, *, resamples: int, seed: int) -> None:
        _, codes = np.unique(np.asarray(customers), return_inverse=True)
        self._labels = labels
        self._members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
        self.customers = len(self._members)
        self._rows = list(self._draw(resamples, np.random.default_rng(seed)))

    def estimate(self, metric: Metric, scores: Vector) -> Estimate:
        """Evaluate a metric of one score on all rows and on every resample."""
        replicates = [metric(self._labels[rows], scores[rows]) for rows in self._rows]
        return Estimate(value=metric(self._labels, scores), replicates=np.array(replicates))

    def _draw(self, resamples: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.intp]]:
        while resamples:
            picks = rng.integers(0, len(self._members), size=len(self._members))
            rows = np.concatenate([self._members[pick] for pick in picks])
            if self._labels[rows].min() != self._labels[rows].max():
                resamples -= 1
                yield rows
