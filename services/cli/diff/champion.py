"""The champion of the registry, asked in this process: for candidates that the log has no score of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.chassis.settings import load
from services.cli.failure import Failure
from services.cli.registered_models import described_as, scores_of
from services.gateway.domain.decision import Decision
from services.gateway.domain.knowledge import Unavailable
from services.gateway.domain.making import Edition
from services.gateway.domain.scoring import matrices, verify_layout
from services.gateway.domain.situation import candidate_values
from services.gateway.ports import Shown
from services.scoring.adapters.lightgbm_booster import LightgbmBooster
from services.scoring.adapters.mlflow_registry import MlflowRegistry
from services.scoring.domain.bundle import BundleRefused
from services.scoring.domain.model import Model
from services.scoring.follower import prove
from services.scoring.ports import RegistryUnavailable
from services.scoring.settings import ScoringSettings


class Champion:
    """Implements ``Scorer`` by a proven model."""

    def __init__(self, version: str, model: Model) -> None:
        self.version = version
        self._model = model
        self._described = described_as(version, model)

    def obstacle(self, edition: Edition) -> str:
        """Say why it cannot score for a playbook; empty where it can."""
        try:
            verify_layout(self._described, edition.feature_set, edition.playbook.definition_hashes)
        except Unavailable as error:
            return error.detail
        return ""

    def scores(self, edition: Edition, decision: Decision, action_ids: Sequence[str]) -> dict[str, float]:
        """Return the chance of each action; none where the decision had no features."""
        situation = decision.situation
        if situation is None or situation.features is None or not action_ids:
            return {}
        features = situation.features
        customer = {**situation.computed, **features.customer}
        candidates = [candidate_values(edition.feature_set, features, action_id) for action_id in action_ids]
        vector, rows = matrices(self._described, customer, candidates)
        shown = Shown(
            model_version=self.version,
            fingerprint=self._described.fingerprint,
            customer=vector,
            rows=dict(zip(action_ids, rows, strict=True)),
        )
        return scores_of(self._model, shown)


def open_champion() -> Champion:
    """Load the model that scoring would serve, as ``TACT_SCORING_...`` says.

    Raises:
        Failure: there is none, it cannot be read, or it is not as it was trained.
    """
    settings = load(ScoringSettings)
    where = f"the alias {settings.alias} of {settings.model_name} in {settings.registry_uri}"
    try:
        found = asyncio.run(_fetch(settings))
    except (RegistryUnavailable, BundleRefused) as error:
        raise Failure(f"--model: the model behind {where} cannot be used: {error}") from None
    if found is None:
        raise Failure(f"--model: there is no model behind {where}")
    return found


async def _fetch(settings: ScoringSettings) -> Champion | None:
    with MlflowRegistry(settings.registry_uri, settings.model_name, settings.alias) as registry:
        if (reference := await registry.champion()) is None:
            return None
        return Champion(reference.version, prove(await registry.fetch(reference), LightgbmBooster))
