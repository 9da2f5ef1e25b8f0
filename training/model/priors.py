"""Base rates of action groups, for the time when no model can be asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """The outcome rate of each group, and of all rows for a group never seen."""

    by_group: dict[str, float]
    overall: float

    def of(self, groups: pd.Series[str]) -> npt.NDArray[np.float64]:
        """Return the prior of each row's group."""
        return np.array([self.by_group.get(group, self.overall) for group in groups], dtype=np.float64)


def smoothed_rates(groups: pd.Series[str], labels: pd.Series[int], strength: float) -> Priors:
    """Estimate the rate of each group as ``(positives + strength * overall) / (rows + strength)``.

    This is the m-estimate (B. Cestnik, "Estimating Probabilities", ECAI 1990): a group with few
    rows is drawn to the overall rate as if it held ``strength`` more rows of it.
    """
    overall = float(labels.mean())
    counts = labels.groupby(groups).agg(["sum", "count"])
    rates = (counts["sum"] + strength * overall) / (counts["count"] + strength)
    return Priors(
        by_group={str(group): float(rate) for group, rate in rates.sort_index().items()}, overall=overall
    )
