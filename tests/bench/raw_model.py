"""The model alone: LightGBM's own prediction of a decision's matrix, on one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
from tact.scoring.v1 import scoring_service_pb2 as pb

Matrix = npt.NDArray[np.float64]

ROUNDS = 5


class RawModel:
    """The model that scoring serves, and matrices that it was asked to score.

    They are several, because a processor learns its way through the trees for a single one.
    """

    def __init__(self, model: Path, requests: Sequence[bytes]) -> None:
        self._booster = lightgbm.Booster(model_str=model.read_text())
        self._matrices = [_matrix(request) for request in requests]
        self.candidates, self.features = self._matrices[0].shape
        self.trees = int(self._booster.num_trees())

    def predict_us(self) -> float:
        """Return the mean time of one prediction among many in a row, in microseconds."""
        started = time.perf_counter()
        for matrix in self._matrices * ROUNDS:
            self._booster.predict(matrix, raw_score=True, num_threads=1)
        return (time.perf_counter() - started) / len(self._matrices) / ROUNDS * 1e6


def _matrix(request: bytes) -> Matrix:
    (item,) = pb.BatchScoreRequest.FromString(request).items
    candidates = np.frombuffer(item.candidate_vectors, "<f8").reshape(item.candidates, -1)
    customer = np.tile(np.frombuffer(item.customer_vector, "<f8"), (item.candidates, 1))
    return np.hstack((customer, candidates))
