"""One evaluation: a model's scores beside baselines on the same rows, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.metrics import PROBABILITY, RANKING, Labels, Metric, Vector
from training.evaluation.resampling import CustomerBootstrap, Estimate, Interval
from training.refusal import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Scores to compare with; only probabilities get log loss, Brier and calibration error."""

    scores: Vector
    is_probability: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineReport:
    """A baseline's own metrics, and each metric of the model minus that of the baseline."""

    metrics: Mapping[str, Interval]
    model_minus_baseline: Mapping[str, Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Metrics by name: ``auc``, ``lift_at_10``, ``log_loss``, ``brier``, ``calibration_error``."""

    rows: int
    positives: int
    customers: int
    metrics: Mapping[str, Interval]
    baselines: Mapping[str, BaselineReport]

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)


def compare(
    labels: Labels,
    customers: npt.ArrayLike,
    scores: Vector,
    baselines: Mapping[str, Baseline],
    *,
    resamples: int,
    seed: int,
) -> Report:
    """Evaluate calibrated scores and baselines on the same resamples of customers.

    A missing value of a baseline ranks below every other. The same arguments give the same
    report.

    Raises:
        Refused: all labels are alike, so that nothing can be told apart.
    """
    if not len(labels) or labels.min() == labels.max():
        raise Refused(
            f"{len(labels)} rows with {int(labels.sum())} positives cannot be evaluated: both classes needed"
        )
    bootstrap = CustomerBootstrap(customers, labels, resamples=resamples, seed=seed)
    model = _estimates(bootstrap, Baseline(scores=scores, is_probability=True))
    return Report(
        rows=len(labels),
        positives=int(labels.sum()),
        customers=bootstrap.customers,
        metrics=_intervals(model),
        baselines={name: _beside(bootstrap, model, baseline) for name, baseline in baselines.items()},
    )


def _beside(
    bootstrap: CustomerBootstrap, model: Mapping[str, Estimate], baseline: Baseline
) -> BaselineReport:
    own = _estimates(bootstrap, baseline)
    return BaselineReport(
        metrics=_intervals(own),
        model_minus_baseline=_intervals({name: model[name].minus(own[name]) for name in own}),
    )


def _estimates(bootstrap: CustomerBootstrap, baseline: Baseline) -> dict[str, Estimate]:
    scores = np.where(np.isnan(baseline.scores), -np.inf, baseline.scores)
    metrics: dict[str, Metric] = {**RANKING, **(PROBABILITY if baseline.is_probability else {})}
    return {name: bootstrap.estimate(metric, scores) for name, metric in metrics.items()}


def _intervals(estimates: Mapping[str, Estimate]) -> dict[str, Interval]:
    return {name: estimate.interval() for name, estimate in estimates.items()}
