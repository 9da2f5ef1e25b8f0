"""A calibrated model from a dataset: split in time, grow, calibrate, grow again on all rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, Field, model_validator

from services.engine.instants import microseconds
from training.configuration import Configuration
from training.data.dataset import Dataset
from training.data.split import TimeSplit, boundary_by_fraction, split_by_time
from training.model.booster import BoosterConfig, fit_booster, raw_margins
from training.model.calibration import Calibration, fit_calibration
from training.model.priors import Priors, smoothed_rates
from training.refusal import Refused


class SplitConfig(Configuration):
    """Where the newer rows begin, on which growing stops and calibration is fitted."""

    calibration_from: AwareDatetime | None = None
    """An instant; or else the fraction below."""
    calibration_fraction: float = Field(default=0.25, gt=0, lt=1)
    open_windows: Literal["embargo", "use"] = "embargo"
    """What becomes of older rows whose outcome window was still open when the newer rows begin."""


class FitConfig(Configuration):
    """How a dataset becomes a calibrated model."""

    split: SplitConfig = SplitConfig()
    lightgbm: BoosterConfig = BoosterConfig()
    prior_strength: float = Field(default=50.0, ge=0)
    minimum_rows: int = Field(default=500, ge=2)
    minimum_positives: int = Field(default=50, ge=1)

    @model_validator(mode="after")
    def _positives_fit(self) -> FitConfig:
        if self.minimum_positives >= self.minimum_rows:
            raise ValueError("minimum_positives must be below minimum_rows")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A booster of all rows and the calibration of its hold-out twin.

    ``holdout`` are the twin's calibrated scores of the newer slice, in its order.
    """

    booster: lgb.Booster
    calibration: Calibration
    priors: Priors
    split: TimeSplit
    trees: int
    holdout: npt.NDArray[np.float64]


def fit(dataset: Dataset, config: FitConfig) -> Fitted:
    """Fit on the older rows, calibrate on the newer ones, then grow the same trees on all.

    The calibration is that of the hold-out fit: the final booster has seen every row, so no
    row is left on which its own margins could be calibrated. The same dataset and
    configuration give the same model.

    Raises:
        Refused: too few rows or outcomes, one class only, or nothing learned.
    """
    labels = dataset.labels()
    _require(dataset, config)
    split = _split(dataset, config.split)
    matrix = dataset.matrix()
    if labels[split.fit].min() == labels[split.fit].max():
        raise Refused("the rows before the calibration boundary are all of one class")
    newer = (matrix[split.calibration], labels[split.calibration])
    twin = fit_booster(
        config.lightgbm, matrix[split.fit], labels[split.fit], dataset.feature_names, newer=newer
    )
    margins = raw_margins(twin, newer[0])
    calibration = fit_calibration(margins, newer[1])
    trees = twin.best_iteration if twin.best_iteration > 0 else twin.num_trees()
    return Fitted(
        booster=fit_booster(config.lightgbm, matrix, labels, dataset.feature_names, trees=trees),
        calibration=calibration,
        priors=smoothed_rates(dataset.frame["group"], dataset.frame["label"], config.prior_strength),
        split=split,
        trees=trees,
        holdout=calibration.probabilities(margins),
    )


def _require(dataset: Dataset, config: FitConfig) -> None:
    rows, positives = len(dataset.frame), int(dataset.labels().sum())
    if not dataset.features:
        raise Refused(f"{dataset.folder}: the dataset has no feature")
    if rows < config.minimum_rows:
        raise Refused(
            f"{dataset.folder}: {rows} rows, at least {config.minimum_rows} are needed (minimum_rows)"
        )
    if positives in (0, rows):
        raise Refused(
            f"{dataset.folder}: {positives} of {rows} rows are positive; a model needs both classes"
        )
    if positives < config.minimum_positives:
        raise Refused(
            f"{dataset.folder}: {positives} positives, at least {config.minimum_positives} are needed "
            "(minimum_positives)"
        )


def _split(dataset: Dataset, config: SplitConfig) -> TimeSplit:
    exposure = dataset.times("exposure_time")
    if config.calibration_from is None:
        boundary = boundary_by_fraction(exposure, config.calibration_fraction)
    else:
        boundary = microseconds(config.calibration_from)
    return split_by_time(
        exposure, dataset.times("outcome_closed_time"), boundary, embargo=config.open_windows == "embargo"
    )
