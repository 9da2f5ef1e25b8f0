"""A booster of LightGBM's own library, without wrappers around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.scoring.domain.bundle import BundleRefused, Cause, Matrix, Vector


class LightgbmBooster:
    """Implements ``Booster`` on one thread a call; callers bring their own concurrency."""

    def __init__(self, model_text: str) -> None:
        """Read a model.

        Raises:
            BundleRefused: LightGBM cannot read it, or it predicts more than one number a row.
        """
        # Where pandas and scikit-learn are installed LightGBM imports both, which takes seconds:
        # here they pass in the thread that checks a model, not before the service listens.
        import lightgbm

        try:
            self._booster = lightgbm.Booster(model_str=model_text)
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise BundleRefused(Cause.MODEL, f"LightGBM cannot read the model: {error}") from None
        if self._booster.num_model_per_iteration() != 1:
            raise BundleRefused(Cause.MODEL, "the model predicts several numbers for a row")

    @property
    def feature_names(self) -> Sequence[str]:
        """The columns that it expects, in order."""
        return self._booster.feature_name()

    def margins(self, matrix: Matrix) -> Vector:
        """Return one raw margin for each row."""
        # A booster read from a text ignores its own parameters, so each call says one thread.
        return np.asarray(self._booster.predict(matrix, raw_score=True, num_threads=1), dtype=np.float64)

    def contributions(self, matrix: Matrix) -> Matrix:
        """Return the exact SHAP values of each row, and the bias last."""
        return np.asarray(self._booster.predict(matrix, pred_contrib=True, num_threads=1), dtype=np.float64)
