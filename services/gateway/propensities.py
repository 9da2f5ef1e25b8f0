"""Gives each candidate its propensity: the model's, else its group's base rate, else none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.playbook import Playbook
from services.gateway.domain import answer
from services.gateway.domain.decision import Fate
from services.gateway.domain.knowledge import (
    Cause,
    Degradation,
    Features,
    Model,
    Scores,
    ServedBy,
    Source,
    Unavailable,
    Vector,
)
from services.gateway.domain.request import Checked
from services.gateway.domain.scoring import Scored, level, matrices
from services.gateway.domain.situation import Situation, candidate_values
from services.gateway.domain.timing import SCORE_SHARE, share
from services.gateway.known_model import KnownModel
from services.gateway.ports import Scorer
from services.gateway.resolver import Known, Remaining


@dataclass(frozen=True, slots=True, kw_only=True)
class Propensities:
    """Scores what policies, consent and place left, in one call."""

    playbook: Playbook
    feature_set: FeatureSet
    scorer: Scorer
    model: KnownModel

    async def assign(
        self,
        fates: Sequence[Fate],
        known: Known,
        situation: Situation,
        checked: Checked,
        remaining: Remaining,
    ) -> Scored:
        """Make a candidate of every fate that remains."""
        if all(fate.removal is not None for fate in fates):
            return Scored(served_by=await self._level_of_silence(known))
        degradations: tuple[Degradation, ...] = ()
        try:
            if situation.features is not None:
                return await self._by_model(fates, situation.features, situation, checked, known, remaining)
            if await self.model.last() is None:
                await self.model.refresh(share(remaining(), SCORE_SHARE))
        except Unavailable as error:
            degradations = (error.of(Source.SCORING),)
        model = await self.model.last()
        _describe(fates, model)
        answer.assign(self.playbook, fates, situation, checked, lambda fate: fate.prior)
        served_by = level(has_features=False, is_stale=False, knows_model=model is not None)
        return Scored(served_by=served_by, degradations=degradations)

    async def _level_of_silence(self, known: Known) -> ServedBy:
        """Return the level of an answer that policies and consent left nothing to score for."""
        if any(lost.source is Source.PROFILE for lost in known.degradations):
            return ServedBy.NOTHING
        knows_model = await self.model.last() is not None
        has_features = known.features is not None
        return level(has_features=has_features, is_stale=known.stale, knows_model=knows_model)

    async def _by_model(
        self,
        fates: Sequence[Fate],
        features: Features,
        situation: Situation,
        checked: Checked,
        known: Known,
        remaining: Remaining,
    ) -> Scored:
        action_ids = list(dict.fromkeys(fate.action_id for fate in fates if fate.removal is None))
        customer = {**situation.computed, **features.customer}
        candidates = [candidate_values(self.feature_set, features, action_id) for action_id in action_ids]
        model = await self.model.current(share(remaining(), SCORE_SHARE))
        try:
            vector, rows, scores = await self._ask(model, customer, candidates, remaining)
        except Unavailable as error:
            if error.cause is not Cause.MISMATCH:
                raise
            model = await self.model.refresh(share(remaining(), SCORE_SHARE))
            vector, rows, scores = await self._ask(model, customer, candidates, remaining)
        fingerprint = model.fingerprint
        if scores.model_version != model.version:
            # Promoted since: the layout held, so the scores stand even where the description is late.
            with suppress(Unavailable):
                model = await self.model.refresh(share(remaining(), SCORE_SHARE))
        propensities = dict(zip(action_ids, scores.propensities, strict=True))
        row_of = dict(zip(action_ids, rows, strict=True))
        _describe(fates, model)
        answer.assign(self.playbook, fates, situation, checked, lambda fate: propensities[fate.action_id])
        for fate in fates:
            if fate.propensity is not None:
                fate.vector = row_of[fate.action_id].tobytes()
        return Scored(
            served_by=level(has_features=True, is_stale=known.stale, knows_model=True),
            model_version=scores.model_version,
            fingerprint=fingerprint,
            customer_vector=vector.tobytes(),
        )

    async def _ask(
        self,
        model: Model,
        customer: Mapping[str, float],
        candidates: Sequence[Mapping[str, float]],
        remaining: Remaining,
    ) -> tuple[Vector, Vector, Scores]:
        vector, rows = matrices(model, customer, candidates)
        timeout = share(remaining(), SCORE_SHARE)
        return vector, rows, await self.scorer.score(model.fingerprint, vector, rows, timeout)


def _describe(fates: Sequence[Fate], model: Model | None) -> None:
    """Note the base rate that each candidate is compared with."""
    for fate in fates:
        fate.prior = None if model is None else model.prior(fate.action.group)
