"""The steps of a decision, in order; each dependency that fails becomes a degradation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from services.chassis.faults import Violation, invalid
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.playbook import Playbook
from services.engine.policy.contact import horizon
from services.engine.violations import InvalidRequest
from services.gateway.domain import answer, funnel, making
from services.gateway.domain.decision import Decision
from services.gateway.domain.knowledge import Profile
from services.gateway.domain.ledger import Reading
from services.gateway.domain.making import Edition
from services.gateway.domain.request import Checked, DecisionRequest, check
from services.gateway.domain.situation import assess
from services.gateway.domain.timing import Stopwatch
from services.gateway.journal import Journal
from services.gateway.ports import Encoder, LeaseOver, LedgerMoved, NotLogged
from services.gateway.propensities import Propensities
from services.gateway.resolver import Known, Remaining, Resolver
from services.gateway.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideHandler:
    """Answers ``Decide``; ``now`` is UTC, ``monotonic`` in nanoseconds.

    ``turns`` are shared by all handlers of a process.
    """

    playbook: Playbook
    feature_set: FeatureSet
    resolver: Resolver
    propensities: Propensities
    journal: Journal
    now: Callable[[], datetime]
    monotonic: Callable[[], int]
    turns: Turns

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
        if (repeated := await self.journal.repeated(request, fingerprint, encoder)) is not None:
            return repeated
        try:
            checked = check(request, self.playbook, self.now())
        except InvalidRequest as error:
            raise invalid(*(Violation(*violation) for violation in error.violations)) from None
        async with self.turns.begun() as turn:
            while True:
                decision, known, versions = await self._make(checked, watch, remaining)
                decision = replace(decision, timings=watch.stages, total=watch.total)
                write = partial(self.journal.seal, decision, fingerprint, encoder, versions)
                try:
                    return await self.resolver.within_lease(write, checked, known, remaining)
                except LeaseOver:
                    continue
                except LedgerMoved:
                    # Another decision about the customer came first. Those of this process go on one
                    # by one, so that they do not overtake each other again and again.
                    try:
                        await turn.wait(decision.customer_id)
                    except NotLogged as error:
                        decision = answer.silenced(decision, str(error))
                        return await self.journal.seal(decision, fingerprint, encoder, {})

    async def _make(
        self, checked: Checked, watch: Stopwatch, remaining: Remaining
    ) -> tuple[Decision, Known, Mapping[str, int]]:
        """Decide by what is so now; return what was known and the versions of the ledger, too."""
        edition = Edition(self.playbook, self.feature_set)
        with watch.stage("candidates"):
            fates = funnel.live_candidates(self.playbook, checked)
            action_ids = list(dict.fromkeys(fate.action_id for fate in fates))
        with watch.stage("resolve"):
            known = await self.resolver.resolve(checked, action_ids, remaining)
            if known.profile is None or not known.profile.found:
                nobody = making.about_nobody(edition, checked, known.profile, known.degradations)
                return nobody, known, {}
            contact_time = self.now() if checked.request.live else checked.decision_time
            reading, lost = await self._reading(known.profile, checked, contact_time)
        with watch.stage("policy"):
            situation = assess(
                *edition,
                checked,
                known.profile,
                known.features,
                reading.ledger,
                contact_time=contact_time,
            )
        making.narrow(edition, fates, situation, checked, watch)
        with watch.stage("score"):
            scored = await self.propensities.assign(fates, known, situation, checked, remaining)
        with watch.stage("arbitrate"):
            decision = making.concluded(edition, fates, situation, checked, scored, known.degradations)
        return answer.silenced(decision, lost) if lost else decision, known, reading.versions

    async def _reading(
        self, profile: Profile, checked: Checked, contact_time: datetime
    ) -> tuple[Reading, str]:
        """Read the ledger where something asks for it, or tell why it cannot be read."""
        if not (least := horizon(self.playbook.policies)):
            return Reading(), ""
        try:
            return await self.journal.reading(profile, contact_time - least, checked), ""
        except NotLogged as error:
            return Reading(), str(error)
