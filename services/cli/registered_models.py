"""Scores again by the model versions in the registry, without the scoring service."""

from __future__ import annotations

from typing import Final

import numpy as np

from services.gateway.domain.knowledge import Cause, Unavailable
from services.gateway.domain.knowledge import Model as Described
from services.gateway.ports import Rescored, Shown
from services.gateway.rescoring import check_same
from services.scoring.adapters.lightgbm_booster import LightgbmBooster
from services.scoring.adapters.mlflow_registry import MlflowRegistry
from services.scoring.domain.batch import Invalid, ScoreItem, lay_out
from services.scoring.domain.bundle import BundleRefused
from services.scoring.domain.model import Model
from services.scoring.follower import prove
from services.scoring.ports import RegistryUnavailable

_FLOAT: Final = "<f8"


class RegisteredModels:
    """Implements ``Rescorer``; each version is loaded once."""

    def __init__(self, registry: MlflowRegistry) -> None:
        self._registry = registry
        self._loaded: dict[str, Model | str] = {}

    async def rescore(self, shown: Shown, timeout: float) -> Rescored:
        """Score by the version on record; ``timeout`` is of no consequence."""
        version = shown.model_version
        if (model := self._loaded.get(version)) is None:
            model = self._loaded[version] = await self._load(version)
        if isinstance(model, str):
            raise Unavailable(Cause.UNAVAILABLE, model)
        described = described_as(version, model)
        check_same(shown, described)
        return Rescored(model=described, propensities=scores_of(model, shown))

    async def _load(self, version: str) -> Model | str:
        """Return a version, or why it cannot be had."""
        try:
            if (reference := await self._registry.version(version)) is None:
                return f"model version {version} is not in the registry"
            return prove(await self._registry.fetch(reference), LightgbmBooster)
        except RegistryUnavailable as error:
            return f"the registry does not give model version {version}: {error}"
        except BundleRefused as error:
            return f"model version {version} is not as it was trained: {error}"


def described_as(version: str, model: Model) -> Described:
    """Return how the scoring service describes a model."""
    bundle = model.bundle
    return Described(
        version=version,
        fingerprint=bundle.schema_fingerprint,
        layout=tuple((one.name, one.definition_hash, one.candidate) for one in bundle.features),
        priors=bundle.priors,
        overall_prior=bundle.overall_prior,
    )


def scores_of(model: Model, shown: Shown) -> dict[str, float]:
    """Return the scores of what a model is shown, by action.

    Raises:
        ValueError: the vectors are not of its layout.
    """
    rows = np.array(list(shown.rows.values()), dtype=_FLOAT)
    item = ScoreItem(shown.customer.astype(_FLOAT).tobytes(), rows.tobytes(), len(rows))
    batch = lay_out([item], model.customer_features, model.candidate_features)
    (scores,) = batch.deal(model.scores(batch.matrix))
    if isinstance(scores, Invalid):
        raise ValueError(f"the vectors on record do not fit the model: {scores.violations}")
    return dict(zip(shown.rows, scores.tolist(), strict=True))
