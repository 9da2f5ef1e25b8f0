"""Gradient boosting with LightGBM, repeatable to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from pydantic import Field

from training.configuration import Configuration
from training.refusal import Refused

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]


class BoosterConfig(Configuration):
    """LightGBM's own parameters; the defaults suit a few hundred positives."""

    learning_rate: float = Field(default=0.03, gt=0)
    num_leaves: int = Field(default=7, ge=2)
    min_data_in_leaf: int = Field(default=40, ge=1)
    feature_fraction: float = Field(default=0.5, gt=0, le=1)
    bagging_fraction: float = Field(default=0.7, gt=0, le=1)
    bagging_freq: int = Field(default=1, ge=0)
    lambda_l2: float = Field(default=10.0, ge=0)
    trees: int = Field(default=200, ge=1)
    """The most trees to grow."""
    early_stopping_rounds: int | None = Field(default=50, ge=1)
    """Stop when this many trees did not lower the log loss of the newer slice; None grows all."""
    num_threads: int = Field(default=2, ge=1)
    """Fixed, because the result may differ between numbers of threads."""
    seed: int = 7

    def parameters(self) -> dict[str, Any]:
        """Spell the configuration for LightGBM, with what makes it repeatable."""
        own = self.model_dump(exclude={"trees", "early_stopping_rounds"})
        return own | {
            "objective": "binary",
            "metric": "binary_logloss",
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }


def fit_booster(
    config: BoosterConfig,
    matrix: Matrix,
    labels: Labels,
    names: Sequence[str],
    *,
    trees: int | None = None,
    newer: tuple[Matrix, Labels] | None = None,
) -> lgb.Booster:
    """Grow a booster, at most ``trees`` (default: the configured number).

    With ``newer`` rows and early stopping, growing ends where their log loss is lowest, and
    ``best_iteration`` tells how many trees that is.

    Raises:
        Refused: LightGBM does not take the rows or a name.
    """
    rounds = config.early_stopping_rounds
    callbacks: list[Callable[..., Any]] = []
    if newer and rounds:
        callbacks.append(lgb.early_stopping(rounds, verbose=False))
    parameters = config.parameters()
    try:
        rows = lgb.Dataset(matrix, labels, feature_name=list(names), params=parameters)
        valid = [lgb.Dataset(*newer, reference=rows, params=parameters)] if newer else None
        booster = lgb.train(parameters, rows, trees or config.trees, valid_sets=valid, callbacks=callbacks)
    except lgb.basic.LightGBMError as error:
        raise Refused(f"LightGBM: {error}") from None
    if booster.feature_name() != list(names):
        raise Refused("LightGBM does not keep these feature names: use letters, digits, '.' and '_' only")
    return booster


def raw_margins(booster: lgb.Booster, matrix: Matrix) -> npt.NDArray[np.float64]:
    """Return the log-odds before calibration, one for each row, on one thread."""
    margins = booster.predict(matrix, raw_score=True, num_threads=1)
    return np.asarray(margins, dtype=np.float64)
