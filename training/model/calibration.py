"""Platt scaling: from a booster's margin to a probability."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sklearn.linear_model import LogisticRegression

from training.configuration import Configuration
from training.refusal import Refused

MARGIN_LIMIT = 30.0
"""Beyond it a float64 probability would round to 0 or 1."""

Vector = npt.NDArray[np.float64]


class Calibration(Configuration):
    """The probability of a raw margin is ``1 / (1 + exp(-(slope * raw + intercept)))``.

    It never decreases and stays strictly between 0 and 1: the exponent is limited to
    ``MARGIN_LIMIT`` either way.
    """

    kind: Literal["platt"] = "platt"
    slope: float = Field(gt=0)
    intercept: float

    def probabilities(self, margins: Vector) -> Vector:
        """Calibrate margins, one by one."""
        exponents = np.clip(self.slope * margins + self.intercept, -MARGIN_LIMIT, MARGIN_LIMIT)
        return 1 / (1 + np.exp(-exponents))


def fit_calibration(margins: Vector, labels: npt.NDArray[np.int8]) -> Calibration:
    """Fit Platt scaling on rows that the booster did not learn from.

    The targets are Platt's ``(P + 1) / (P + 2)`` and ``1 / (N + 2)`` for P positives and N
    negatives, so that separable rows give a finite slope (J. Platt, "Probabilistic Outputs
    for Support Vector Machines", 1999, section 2.2).

    Raises:
        Refused: one of the two classes is absent, or higher margins do not go with more
            positives, which no calibration can repair.
    """
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if not positives or not negatives:
        raise Refused(
            f"the calibration slice holds {positives} positives and {negatives} negatives; both are needed"
        )
    if np.ptp(margins) == 0:
        raise Refused(
            "the model scores every row of the calibration slice alike: its features carry no signal"
        )
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A soft target t is a positive row of weight t beside a negative one of weight 1 - t.
    regression = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    regression.fit(
        np.concatenate([margins, margins])[:, None],
        np.concatenate([np.ones_like(labels), np.zeros_like(labels)]),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    slope, intercept = float(regression.coef_[0, 0]), float(regression.intercept_[0])
    if slope <= 0:
        raise Refused(
            f"the calibration slope is {slope:.4g}: on newer rows higher margins do not go with more outcomes"
        )
    return Calibration(slope=slope, intercept=intercept)
