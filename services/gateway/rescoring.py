"""Scores what a model was shown again, by the model that scoring serves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.gateway.domain.knowledge import Cause, Model, Unavailable
from services.gateway.ports import Rescored, Scorer, Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """Implements ``Rescorer`` for decisions that the served model scored."""

    scorer: Scorer

    async def rescore(self, shown: Shown, timeout: float) -> Rescored:
        """Ask scoring, if it serves the same model."""
        model = await self.scorer.describe(timeout)
        check_same(shown, model)
        rows = np.array(list(shown.rows.values()), dtype=np.float64)
        scores = await self.scorer.score(model.fingerprint, shown.customer, rows, timeout)
        if scores.model_version != model.version:
            raise _other(shown, scores.model_version)
        return Rescored(model=model, propensities=dict(zip(shown.rows, scores.propensities, strict=True)))


def check_same(shown: Shown, model: Model) -> None:
    """Check that a model is the one that made the scores.

    Raises:
        Unavailable: it is another.
    """
    if model.version != shown.model_version:
        raise _other(shown, model.version)
    if model.fingerprint != shown.fingerprint:
        text = f"model version {model.version} has another layout than it had for the scores on record"
        raise Unavailable(Cause.MISMATCH, text)


def _other(shown: Shown, version: str) -> Unavailable:
    text = f"model version {shown.model_version} is not served, {version} is"
    return Unavailable(Cause.MISMATCH, text)
