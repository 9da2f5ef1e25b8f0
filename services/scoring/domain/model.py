"""A model that can score, and the proof that it scores as it did when it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from services.scoring.domain.bundle import Bundle, BundleRefused, Cause, Matrix, Vector

GOLDEN_TOLERANCE: Final = 1e-9


class Booster(Protocol):
    """What turns rows into raw margins; may be used from several threads at once."""

    @property
    def feature_names(self) -> Sequence[str]:
        """The columns that it expects, in order."""
        ...

    def margins(self, matrix: Matrix) -> Vector:
        """Return one margin for each row."""
        ...

    def contributions(self, matrix: Matrix) -> Matrix:
        """Return what each column adds to each row's margin, and the bias last."""
        ...


class Model:
    """Scores matrices whose columns are ``bundle.features``."""

    def __init__(self, bundle: Bundle, booster: Booster) -> None:
        self.bundle = bundle
        self.customer_features = sum(not feature.candidate for feature in bundle.features)
        self.candidate_features = len(bundle.features) - self.customer_features
        self._booster = booster

    @property
    def feature_names(self) -> Sequence[str]:
        """The columns of the booster itself."""
        return self._booster.feature_names

    def scores(self, matrix: Matrix) -> Vector:
        """Return the calibrated propensity of each row; none for no rows."""
        if not len(matrix):
            return np.empty(0)
        return self.bundle.calibration.probabilities(self._booster.margins(matrix))

    def contributions(self, matrix: Matrix) -> Matrix:
        """Return what each feature adds to each row's log-odds before calibration, and the bias last.

        A row sums to those log-odds, and costs milliseconds where its score costs microseconds.
        """
        if not len(matrix):
            return np.empty((0, len(self.bundle.features) + 1))
        return self._booster.contributions(matrix)


def verify(model: Model) -> None:
    """Hold a model to its bundle: its columns, its golden scores to 1e-9, its warm-up requests.

    Raises:
        BundleRefused: it fails one of them.
    """
    bundle = model.bundle
    if list(model.feature_names) != [feature.name for feature in bundle.features]:
        raise BundleRefused(Cause.LAYOUT, "the model's features are not those of the manifest")
    _check_shape(bundle.golden_inputs, bundle, Cause.GOLDEN)
    scores = model.scores(bundle.golden_inputs)
    if scores.shape != bundle.golden_scores.shape:
        raise BundleRefused(Cause.GOLDEN, "golden inputs and scores differ in number")
    if not np.allclose(scores, bundle.golden_scores, rtol=0, atol=GOLDEN_TOLERANCE):
        worst = float(np.abs(scores - bundle.golden_scores).max())
        raise BundleRefused(Cause.GOLDEN, f"a golden score differs by {worst:.3g}")
    for matrix in bundle.warm_up:
        _check_shape(matrix, bundle, Cause.WARM_UP)
        scores = model.scores(matrix)
        if not ((scores > 0) & (scores < 1)).all():
            raise BundleRefused(Cause.WARM_UP, "a warm-up request got no probability")


def _check_shape(matrix: Matrix, bundle: Bundle, cause: Cause) -> None:
    if matrix.dtype != np.float64 or matrix.ndim != 2 or matrix.shape[1] != len(bundle.features):
        raise BundleRefused(cause, f"inputs must have {len(bundle.features)} float64 columns")
    if not len(matrix):
        raise BundleRefused(cause, "there are no inputs")
