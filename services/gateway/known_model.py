"""What the gateway knows of the served model, also while scoring is out of reach."""

from __future__ import annotations

from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.playbook import Playbook
from services.gateway.domain.knowledge import Model
from services.gateway.domain.scoring import verify_layout
from services.gateway.ports import DecisionLog, Scorer


class KnownModel:
    """Asks once, remembers, and asks again when a score comes from another version.

    The last known model is kept in the gateway's store, so its base rates outlive a restart.
    """

    def __init__(self, scorer: Scorer, log: DecisionLog, playbook: Playbook, features: FeatureSet) -> None:
        self._scorer = scorer
        self._log = log
        self._playbook = playbook
        self._features = features
        self._current: Model | None = None
        self._kept: Model | None = None

    async def last(self) -> Model | None:
        """Return the last model known, for its base rates; None where none was ever seen."""
        if self._current is None and self._kept is None:
            self._kept = await self._log.last_model()
        return self._current or self._kept

    async def current(self, timeout: float) -> Model:
        """Return the served model, whose layout this playbook can fill.

        Raises:
            Unavailable: scoring gives no answer, or the layouts differ.
        """
        return self._current or await self.refresh(timeout)

    async def refresh(self, timeout: float) -> Model:
        """Ask scoring which model it serves.

        Raises:
            Unavailable: scoring gives no answer, or the layouts differ.
        """
        model = await self._scorer.describe(timeout)
        verify_layout(model, self._features, self._playbook.definition_hashes)
        if model != self._current:
            self._current = model
            await self._log.keep_model(model)
        return model
