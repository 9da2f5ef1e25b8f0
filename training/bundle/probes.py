"""Inputs that nobody is behind: what golden scores and warm-up requests are made of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def golden_inputs(matrix: Matrix, rows: int, seed: int) -> Matrix:
    """Make rows that visit what a model saw, and the edges beyond it.

    The first six are all missing, all zero, the lowest and highest value of each column, and
    far below and above them. Each value of the others is drawn from its own column, apart from
    its neighbours, a tenth missing: the values are real, the customers are not, so a bundle
    holds no personal data.
    """
    rng = np.random.default_rng(seed)
    columns = matrix.shape[1]
    present = np.where(np.isnan(matrix), 0.0, matrix)
    lowest, highest = present.min(axis=0), present.max(axis=0)
    edges = [np.full(columns, np.nan), np.zeros(columns), lowest, highest, lowest - 1e6, highest + 1e6]
    picks = rng.integers(0, len(matrix), size=(rows, columns))
    drawn = np.take_along_axis(matrix, picks, axis=0)
    drawn[rng.random(drawn.shape) < 0.1] = np.nan
    return np.ascontiguousarray(np.vstack([*edges, drawn]))
