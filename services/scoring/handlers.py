"""What the scoring service does, whatever the transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any, Final

import numpy as np

from services.scoring.domain.batch import Invalid, ScoreItem, lay_out
from services.scoring.domain.bundle import Matrix, Vector
from services.scoring.domain.model import Model
from services.scoring.follower import ModelFollower, Refused, Served
from services.scoring.metrics import ScoringMetrics

# 16 rows of a model of 200 trees take about 50 ms.
_ROWS_AT_ONCE: Final = 16
_MOST_EXPLANATIONS: Final = 8


class ModelNotReady(Exception):
    """No model has passed its checks yet; the message says what is missing."""


class SchemaMismatch(Exception):
    """The vectors have another layout than the model."""

    def __init__(self, sent: str, expected: str) -> None:
        super().__init__(f"schema {sent:.64} is not the model's {expected}")
        self.expected = expected


class VersionMismatch(Exception):
    """The model that made the scores is not the one that is served."""

    def __init__(self, asked: str, served: str) -> None:
        super().__init__(f"model version {asked:.64} is not the one served, {served}")
        self.served = served


class Overloaded(Exception):
    """Too many explanations are waiting; nothing was done."""


class ScoringHandlers:
    """Handles every call of the scoring service.

    A batch of at most ``inline_rows`` candidates is scored on the event loop, a larger one in
    ``executor``: handing over costs 60 to 120 us, and a model of 200 trees takes 5 us a row.
    Explanations never use ``executor``: they would keep scores waiting.
    """

    def __init__(
        self, follower: ModelFollower, executor: Executor, inline_rows: int, metrics: ScoringMetrics
    ) -> None:
        self._follower = follower
        self._executor = executor
        self._inline_rows = inline_rows
        self._metrics = metrics
        self._explanations = 0
        self._turn = asyncio.Lock()

    def is_ready(self) -> bool:
        """Tell whether a model is served."""
        return self._follower.served is not None

    def served(self) -> Served:
        """Return the model that is served.

        Raises:
            ModelNotReady: there is none.
        """
        served = self._follower.served
        if served is None:
            raise ModelNotReady(self._follower.why_none)
        return served

    def refused(self) -> Refused | None:
        """Return the champion, where it failed its checks and ``served`` stands in."""
        return self._follower.refused

    async def score(
        self, items: Sequence[ScoreItem], schema_fingerprint: str
    ) -> tuple[list[Vector | Invalid], str]:
        """Score the candidates of every item with one model; return its version with the answers.

        Raises:
            ModelNotReady: no model is served.
            SchemaMismatch: the vectors have another layout.
        """
        served = self._served_for(schema_fingerprint)
        model = served.model
        batch = lay_out(items, model.customer_features, model.candidate_features)
        answers = batch.deal(await self._scores(model, batch.matrix))
        self._metrics.rows.observe(len(batch.matrix))
        self._metrics.invalid_items.inc(sum(isinstance(answer, Invalid) for answer in answers))
        return answers, served.reference.version

    async def explain(
        self, items: Sequence[ScoreItem], schema_fingerprint: str, model_version: str
    ) -> tuple[list[Matrix | Invalid], str]:
        """Return the contributions to each score of every item, and the version that they explain.

        Explanations take turns, a few rows at a time in one thread beside the event loop. One whose
        caller leaves ends within those few rows, and no other begins before.

        Raises:
            ModelNotReady: no model is served.
            VersionMismatch: ``model_version`` is neither empty nor the one served.
            SchemaMismatch: the vectors have another layout.
            Overloaded: too many are waiting.
        """
        version = self.served().reference.version
        if model_version not in ("", version):
            raise VersionMismatch(model_version, version)
        model = self._served_for(schema_fingerprint).model
        batch = lay_out(items, model.customer_features, model.candidate_features)
        if self._explanations >= _MOST_EXPLANATIONS:
            raise Overloaded(f"{_MOST_EXPLANATIONS} explanations are in work or waiting")
        self._explanations += 1
        try:
            async with self._turn:
                return batch.deal(await _contributions(model, batch.matrix)), version
        finally:
            self._explanations -= 1

    def _served_for(self, schema_fingerprint: str) -> Served:
        served = self.served()
        expected = served.model.bundle.schema_fingerprint
        if schema_fingerprint != expected:
            raise SchemaMismatch(schema_fingerprint, expected)
        return served

    async def _scores(self, model: Model, matrix: Matrix) -> Vector:
        started = time.perf_counter()
        if len(matrix) <= self._inline_rows:
            where = "inline"
            scores = model.scores(matrix)
        else:
            where = "executor"
            scores = await asyncio.get_running_loop().run_in_executor(self._executor, model.scores, matrix)
        self._metrics.predict_seconds.labels(where).observe(time.perf_counter() - started)
        return scores


async def _contributions(model: Model, matrix: Matrix) -> Matrix:
    parts = [
        await _to_its_end(asyncio.to_thread(model.contributions, matrix[start : start + _ROWS_AT_ONCE]))
        for start in range(0, max(len(matrix), 1), _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


async def _to_its_end(work: Coroutine[Any, Any, Matrix]) -> Matrix:
    """Wait for a thread also where the caller has left, as nothing else can end it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
