"""From a model's raw margin to a probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

# Beyond it a float64 probability would round to 0 or 1.
_LIMIT: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Platt scaling: the probability of a raw margin is ``1 / (1 + exp(-(slope * raw + intercept)))``.

    It never decreases and stays strictly between 0 and 1: the exponent is limited to 30 either
    way (J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999).
    """

    slope: float
    intercept: float

    def probabilities(self, margins: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Calibrate margins, one by one."""
        exponents = np.clip(self.slope * margins + self.intercept, -_LIMIT, _LIMIT)
        return 1 / (1 + np.exp(-exponents))
