"""What the scoring service does, whatever the transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor

from services.scoring.domain.batch import Invalid, ScoreItem, lay_out
from services.scoring.domain.bundle import Matrix, Vector
from services.scoring.domain.model import Model
from services.scoring.follower import ModelFollower, Served
from services.scoring.metrics import ScoringMetrics


class ModelNotReady(Exception):
    """No model has passed its checks yet; the message says what is missing."""


class SchemaMismatch(Exception):
    """The vectors have another layout than the model."""

    def __init__(self, sent: str, expected: str) -> None:
        super().__init__(f"schema {sent:.64} is not the model's {expected}")
        self.expected = expected


class ScoringHandlers:
    """Handles every call of the scoring service.

    A batch of at most ``inline_rows`` candidates is scored on the event loop, a larger one in
    ``executor``: handing over costs 60 to 120 us, and a model of 200 trees takes 5 us a row.
    """

    def __init__(
        self, follower: ModelFollower, executor: Executor, inline_rows: int, metrics: ScoringMetrics
    ) -> None:
        self._follower = follower
        self._executor = executor
        self._inline_rows = inline_rows
        self._metrics = metrics

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

    async def score(
        self, items: Sequence[ScoreItem], schema_fingerprint: str
    ) -> tuple[list[Vector | Invalid], str]:
        """Score the candidates of every item with one model; return its version with the answers.

        Raises:
            ModelNotReady: no model is served.
            SchemaMismatch: the vectors have another layout.
        """
        served = self.served()
        model, expected = served.model, served.model.bundle.schema_fingerprint
        if schema_fingerprint != expected:
            raise SchemaMismatch(schema_fingerprint, expected)
        batch = lay_out(items, model.customer_features, model.candidate_features)
        answers = batch.deal(await self._scores(model, batch.matrix))
        self._metrics.rows.observe(len(batch.matrix))
        self._metrics.invalid_items.inc(sum(isinstance(answer, Invalid) for answer in answers))
        return answers, served.reference.version

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
