"""The steps of a decision, in order; each dependency that fails becomes a degradation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tact.errors.v1 import errors_pb2

from services.chassis.faults import Fault, FaultKind, Violation, invalid
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.playbook import Playbook
from services.gateway.domain import answer, funnel, scoring
from services.gateway.domain.decision import Decision, Fate
from services.gateway.domain.knowledge import (
    Cause,
    Degradation,
    Features,
    Model,
    Profile,
    Scores,
    ServedBy,
    Source,
    Unavailable,
)
from services.gateway.domain.last_good import LastGood
from services.gateway.domain.request import (
    REPEAT_WINDOW,
    Checked,
    DecisionRequest,
    WrongRequest,
    check,
    zone_of,
)
from services.gateway.domain.timing import READ_SHARE, SCORE_SHARE, Stopwatch, share
from services.gateway.known_model import KnownModel
from services.gateway.ports import (
    DecisionLog,
    Encoder,
    FeatureReader,
    LogEntry,
    LogFull,
    Logged,
    NotLogged,
    ProfileReader,
    Scorer,
)

Remaining = Callable[[], float | None]


@dataclass(slots=True, kw_only=True)
class _Known:
    """What one decision could learn, and what it had to do without."""

    profile: Profile | None = None
    features: Features | None = None
    stale: bool = False
    degradations: list[Degradation] = field(default_factory=list)

    def lacks(self, source: Source, error: Unavailable) -> None:
        self.degradations.append(Degradation(source=source, cause=error.cause, detail=error.detail))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    served_by: ServedBy
    model: Model | None
    model_version: str = ""
    fingerprint: str = ""
    customer_vector: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideHandler:
    """Answers ``Decide``; ``now`` is UTC, ``monotonic`` in seconds, ``observe`` sees every new decision."""

    playbook: Playbook
    feature_set: FeatureSet
    profiles: ProfileReader
    features: FeatureReader
    scorer: Scorer
    model: KnownModel
    log: DecisionLog
    last_good: LastGood
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    observe: Callable[[Decision, timedelta], None]

    def repeated(self, decision_id: str, live: bool, fingerprint: str, encoder: Encoder) -> object | None:
        """Return the stored answer of a repeated request, None for a new one.

        ``fingerprint`` identifies the payload.

        Raises:
            Fault: the id was used for another request, or more than 24 hours ago.
        """
        try:
            standing = self.log.find(decision_id, live)
        except NotLogged:
            return None
        return None if standing is None else self._stored(standing, fingerprint, encoder)

    async def decide(
        self, request: DecisionRequest, fingerprint: str, remaining: Remaining, encoder: Encoder
    ) -> object:
        """Make, log and return a decision; ``remaining`` tells the seconds left, None without end.

        Raises:
            Fault: the request breaks the contract, or the log's queue is full.
        """
        watch = Stopwatch(self.monotonic)
        try:
            checked = check(request, self.playbook, self.now())
        except WrongRequest as error:
            raise invalid(*(Violation(wrong.field, wrong.description) for wrong in error.wrongs)) from None
        decision = await self._make(checked, watch, remaining)
        decision = replace(decision, timings=watch.stages, total=watch.total)
        return await self._seal(decision, fingerprint, encoder)

    async def _make(self, checked: Checked, watch: Stopwatch, remaining: Remaining) -> Decision:
        with watch.stage("candidates"):
            fates = funnel.live_candidates(self.playbook, checked)
        with watch.stage("resolve"):
            known = await self._resolve(checked, fates, remaining)
        profile = known.profile
        if profile is None:
            return self._empty(checked, known, [answer.UNRESOLVED], ServedBy.NOTHING)
        if not profile.found:
            return self._empty(checked, known, [answer.UNKNOWN_CUSTOMER], ServedBy.MODEL)
        zone, zone_source = zone_of(checked, profile.attributes, self.playbook)
        local = checked.decision_time.astimezone(zone)
        with watch.stage("policy"):
            computed = self.feature_set.profile_values(profile.attributes)
            computed |= self.feature_set.context_values(checked.context, local)
            values = funnel.rule_values(checked, profile, known.features, computed, local)
            funnel.apply_engagement_policy(
                self.playbook, fates, values, lambda action_id: self._candidate(action_id, known.features)
            )
        with watch.stage("consent"):
            funnel.apply_consent(fates, profile, checked.decision_time)
        with watch.stage("score"):
            scored = await self._score(fates, known, computed, remaining)
        with watch.stage("arbitrate"):
            chosen, beaten = answer.choose(self.playbook, fates, checked.limit)
        with watch.stage("place"):
            from_prior = scored.served_by is ServedBy.PRIORS
            actions = answer.place(self.playbook, checked, chosen, scored.model, from_prior)
        return Decision(
            checked=checked,
            customer_id=profile.customer_id,
            actions=actions,
            reasons=[] if actions else answer.silence(self.playbook, fates, beaten),
            fates=fates,
            served_by=scored.served_by,
            degradations=known.degradations,
            playbook_version=self.playbook.version,
            feature_set_version=self.feature_set.version,
            threshold_micros=self.playbook.head.threshold,
            currency=self.playbook.head.currency,
            model_version=scored.model_version,
            schema_fingerprint=scored.fingerprint,
            customer_vector=scored.customer_vector,
            features=known.features,
            time_zone=zone.key,
            time_zone_source=zone_source,
        )

    def _empty(self, checked: Checked, known: _Known, reasons: list[Any], level: ServedBy) -> Decision:
        return Decision(
            checked=checked,
            customer_id=checked.request.customer.customer_id,
            actions=[],
            reasons=reasons,
            fates=[],
            served_by=level,
            degradations=known.degradations,
            playbook_version=self.playbook.version,
            feature_set_version=self.feature_set.version,
            threshold_micros=self.playbook.head.threshold,
            currency=self.playbook.head.currency,
        )

    async def _resolve(self, checked: Checked, fates: Sequence[Fate], remaining: Remaining) -> _Known:
        known = _Known()
        customer_id = checked.request.customer.customer_id
        if customer_id:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_profile(checked, known, remaining))
                group.create_task(self._read_features(customer_id, checked, fates, known, remaining))
            # Without a profile there is no consent; the rest of the decision goes on without.
            known.profile = known.profile or Profile(customer_id=customer_id)
        else:
            await self._read_profile(checked, known, remaining)
            if known.profile is not None and known.profile.found:
                await self._read_features(known.profile.customer_id, checked, fates, known, remaining)
        return known

    async def _read_profile(self, checked: Checked, known: _Known, remaining: Remaining) -> None:
        as_of = None if checked.request.live else checked.decision_time
        try:
            known.profile = await self.profiles.read(
                checked.request.customer, as_of, share(remaining(), READ_SHARE)
            )
        except Unavailable as error:
            known.lacks(Source.PROFILE, error)

    async def _read_features(
        self, customer_id: str, checked: Checked, fates: Sequence[Fate], known: _Known, remaining: Remaining
    ) -> None:
        action_ids = list(dict.fromkeys(fate.action_id for fate in fates))
        as_of = checked.decision_time
        try:
            known.features = await self.features.read(
                customer_id, as_of, action_ids, checked.request.min_sequence, share(remaining(), READ_SHARE)
            )
            self.last_good.keep(customer_id, known.features)
        except Unavailable as error:
            known.lacks(Source.FEATURES, error)
            known.features = self.last_good.get(customer_id, as_of)
            known.stale = known.features is not None

    def _candidate(self, action_id: str, features: Features | None) -> dict[str, float]:
        served = {} if features is None else features.candidates.get(action_id, {})
        return {**self.feature_set.action_values(action_id), **served}

    async def _score(
        self, fates: Sequence[Fate], known: _Known, computed: dict[str, float], remaining: Remaining
    ) -> _Scored:
        if all(fate.removal is not None for fate in fates):
            return _Scored(served_by=ServedBy.MODEL, model=self.model.last)
        if known.features is not None:
            try:
                level = ServedBy.LAST_GOOD_FEATURES if known.stale else ServedBy.MODEL
                return await self._score_by_model(fates, known.features, computed, level, remaining)
            except Unavailable as error:
                known.lacks(Source.SCORING, error)
        model = self.model.last
        answer.assign(fates, lambda fate: None if model is None else model.prior(fate.action.group))
        return _Scored(served_by=ServedBy.RULES if model is None else ServedBy.PRIORS, model=model)

    async def _score_by_model(
        self,
        fates: Sequence[Fate],
        features: Features,
        computed: dict[str, float],
        level: ServedBy,
        remaining: Remaining,
    ) -> _Scored:
        action_ids = list(dict.fromkeys(fate.action_id for fate in fates if fate.removal is None))
        customer = {**computed, **features.customer}
        candidates = [self._candidate(action_id, features) for action_id in action_ids]
        model = await self.model.current(share(remaining(), SCORE_SHARE))
        try:
            vector, rows, scores = await self._ask(model, customer, candidates, remaining)
        except Unavailable as error:
            if error.cause is not Cause.MISMATCH:
                raise
            model = await self.model.refresh(share(remaining(), SCORE_SHARE))
            vector, rows, scores = await self._ask(model, customer, candidates, remaining)
        if scores.model_version != model.version:
            # Promoted since: the layout held, so the scores stand even where the description is late.
            with suppress(Unavailable):
                model = await self.model.refresh(share(remaining(), SCORE_SHARE))
        propensities = dict(zip(action_ids, scores.propensities, strict=True))
        row_of = dict(zip(action_ids, rows, strict=True))
        answer.assign(fates, lambda fate: propensities[fate.action_id])
        for fate in fates:
            if fate.candidate is not None:
                fate.vector = row_of[fate.action_id].tobytes()
        return _Scored(
            served_by=level,
            model=model,
            model_version=scores.model_version,
            fingerprint=model.fingerprint,
            customer_vector=vector.tobytes(),
        )

    async def _ask(
        self,
        model: Model,
        customer: dict[str, float],
        candidates: list[dict[str, float]],
        remaining: Remaining,
    ) -> tuple[Any, Any, Scores]:
        vector, rows = scoring.matrices(model, customer, candidates)
        timeout = share(remaining(), SCORE_SHARE)
        return vector, rows, await self.scorer.score(model.fingerprint, vector, rows, timeout)

    async def _seal(self, decision: Decision, fingerprint: str, encoder: Encoder) -> object:
        request, record_time = decision.checked.request, self.now()
        encoded = encoder.encode(decision, record_time)
        started = self.monotonic()
        try:
            standing = await self.log.append(
                LogEntry(
                    decision_id=request.decision_id,
                    live=request.live,
                    customer_id=decision.customer_id,
                    fingerprint=fingerprint,
                    record_time=record_time,
                    actions=len(decision.actions),
                    record=encoded.record,
                    without_trace=encoded.without_trace,
                )
            )
        except LogFull:
            reason = errors_pb2.ERROR_REASON_OVERLOADED
            raise Fault(FaultKind.OVERLOADED, reason, "the decision log's queue is full") from None
        except NotLogged as error:
            decision = self._silenced(decision, error)
            encoded, standing = encoder.encode(decision, record_time), None
        if standing is not None:
            return self._stored(standing, fingerprint, encoder)
        self.observe(decision, timedelta(seconds=self.monotonic() - started))
        return encoded.response

    def _silenced(self, decision: Decision, error: NotLogged) -> Decision:
        degradation = Degradation(source=Source.DECISION_LOG, cause=Cause.UNAVAILABLE, detail=str(error))
        return replace(
            decision,
            actions=[],
            reasons=[answer.NOT_LOGGED],
            served_by=ServedBy.NOTHING,
            degradations=[*decision.degradations, degradation],
        )

    def _stored(self, standing: Logged, fingerprint: str, encoder: Encoder) -> object:
        if standing.fingerprint != fingerprint:
            reason = errors_pb2.ERROR_REASON_IDENTIFIER_REUSED
            raise Fault(FaultKind.ALREADY_EXISTS, reason, "request_id was used for another request")
        age = self.now() - standing.record_time
        if age > REPEAT_WINDOW:
            reason = errors_pb2.ERROR_REASON_REQUEST_ID_EXPIRED
            hours = int(age.total_seconds() // 3600)
            text = f"request_id was answered {hours} hours ago; a repeat is answered for 24 hours"
            raise Fault(FaultKind.PRECONDITION, reason, text)
        return encoder.response(standing.record)
