"""The steps of a decision, in order; each dependency that fails becomes a degradation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.chassis.faults import Violation, invalid
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.playbook import Playbook
from services.engine.trace.reasons import Reason
from services.engine.violations import InvalidRequest
from services.gateway.domain import answer, funnel
from services.gateway.domain.decision import Decision
from services.gateway.domain.knowledge import ServedBy
from services.gateway.domain.request import Checked, DecisionRequest, check, zone_of
from services.gateway.domain.scoring import candidate_values
from services.gateway.domain.timing import Stopwatch
from services.gateway.journal import Journal
from services.gateway.ports import Encoder
from services.gateway.propensities import Propensities
from services.gateway.resolver import Known, Remaining, Resolver


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideHandler:
    """Answers ``Decide``; ``now`` is UTC, ``monotonic`` in nanoseconds."""

    playbook: Playbook
    feature_set: FeatureSet
    resolver: Resolver
    propensities: Propensities
    journal: Journal
    now: Callable[[], datetime]
    monotonic: Callable[[], int]

    async def decide(
        self, request: DecisionRequest, fingerprint: str, remaining: Remaining, encoder: Encoder
    ) -> object:
        """Make, log and return a decision; a repeat returns the stored one, before any other check.

        ``fingerprint`` identifies the payload; ``remaining`` tells the seconds left, None without end.

        Raises:
            Fault: the request breaks the contract, its id stands for another one or for one too
                old, or the log's queue is full.
        """
        watch = Stopwatch(self.monotonic)
        if (repeated := self.journal.repeated(request, fingerprint, encoder)) is not None:
            return repeated
        try:
            checked = check(request, self.playbook, self.now())
        except InvalidRequest as error:
            raise invalid(*(Violation(*violation) for violation in error.violations)) from None
        decision = await self._make(checked, watch, remaining)
        decision = replace(decision, timings=watch.stages, total=watch.total)
        return await self.journal.seal(decision, fingerprint, encoder)

    async def _make(self, checked: Checked, watch: Stopwatch, remaining: Remaining) -> Decision:
        with watch.stage("candidates"):
            fates = funnel.live_candidates(self.playbook, checked)
            action_ids = list(dict.fromkeys(fate.action_id for fate in fates))
        with watch.stage("resolve"):
            known = await self.resolver.resolve(checked, action_ids, remaining)
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
                self.playbook,
                fates,
                values,
                lambda action_id: candidate_values(self.feature_set, known.features, action_id),
            )
        with watch.stage("consent"):
            funnel.apply_consent(fates, profile, checked.decision_time)
        with watch.stage("score"):
            scored = await self.propensities.assign(fates, known, computed, remaining)
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
            degradations=[*known.degradations, *scored.degradations],
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

    def _empty(self, checked: Checked, known: Known, reasons: Sequence[Reason], level: ServedBy) -> Decision:
        return Decision(
            checked=checked,
            customer_id=checked.customer.customer_id,
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
