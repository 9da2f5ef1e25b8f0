"""Decides, just before a treatment is sent, whether it may be."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from tact.errors.v1 import errors_pb2

from services.chassis.faults import Fault, FaultKind, Violation, invalid
from services.engine.policy import consent
from services.engine.policy.contact import horizon
from services.engine.violations import LONGEST_ID, InvalidRequest, check_text
from services.engine.violations import Violation as Found
from services.gateway.archive import erased
from services.gateway.domain import claiming
from services.gateway.domain.claiming import Delivery
from services.gateway.domain.knowledge import Profile
from services.gateway.domain.ledger import Claim, Reading, Standing
from services.gateway.domain.request import check
from services.gateway.domain.situation import assess
from services.gateway.handlers import DecideHandler
from services.gateway.ports import DecisionErased, LeaseOver, LedgerMoved, LogFull, NotLogged
from services.gateway.resolver import Known, Remaining


class DeliveryOf(Protocol):
    """Finds one ranked action in a log record; None where the record has no such rank."""

    def __call__(self, record: bytes, rank: int) -> Delivery | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The verdict on a claim; ``is_repeat`` where it was given before."""

    claim: Claim
    is_repeat: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimHandler:
    """Answers ``ClaimDelivery`` by the rules that are in use at that moment.

    ``current`` returns the handler of decisions in use, with whose stores and readers claims are
    judged, too; ``observe`` sees each new verdict.
    """

    current: Callable[[], DecideHandler]
    delivery_of: DeliveryOf
    observe: Callable[[Claim], None]

    async def claim(self, decision_id: str, rank: int, claim_id: str, remaining: Remaining) -> Claimed:
        """Judge a claim and write the verdict; GO takes the slot, CANCELLED gives it back.

        Raises:
            Fault: the request is none, there is no such decision or rank, it is too early, or what has
                to be checked cannot be; nothing was taken then.
        """
        violations: list[Found] = []
        check_text("decision_id", decision_id, violations, least=1, most=LONGEST_ID)
        check_text("claim_id", claim_id, violations, least=0, most=LONGEST_ID)
        if rank < 1:
            violations.append(Found("rank", "must be at least 1"))
        if violations:
            raise invalid(*(Violation(*violation) for violation in violations))
        try:
            return await self._claim(decision_id, rank, claim_id, remaining)
        except LogFull:
            reason = errors_pb2.ERROR_REASON_OVERLOADED
            raise Fault(FaultKind.OVERLOADED, reason, "the ledger's queue is full") from None
        except DecisionErased:
            raise erased() from None
        except NotLogged as error:
            reason = errors_pb2.ERROR_REASON_STORE_UNAVAILABLE
            raise Fault(FaultKind.UNAVAILABLE, reason, str(error)) from None

    async def _claim(self, decision_id: str, rank: int, claim_id: str, remaining: Remaining) -> Claimed:
        log = self.current().journal.log
        logged = await log.find(decision_id, live=True)
        delivery = None if logged is None else self.delivery_of(logged.record, rank)
        if delivery is None or (standing := await log.standing(decision_id, rank)) is None:
            reason = errors_pb2.ERROR_REASON_DECISION_UNKNOWN
            raise Fault(FaultKind.NOT_FOUND, reason, "no live decision with this id has this rank")
        async with self.current().turns.begun() as turn:
            while (given := claiming.given(standing, claim_id)) is None:
                moment = _Moment(decide=self.current(), delivery=delivery, standing=standing)
                known = await moment.known(remaining)
                # The versions come first, so that whatever changes from here on shows.
                reading = await moment.reading(known)
                standing = await log.standing(decision_id, rank) or standing
                if claiming.given(standing, claim_id) is not None:
                    continue
                claim = moment.judged(known, reading, claim_id)
                write = partial(log.claim, decision_id, rank, claim, reading.versions)
                try:
                    written = await moment.written(write, known, remaining)
                except LeaseOver:
                    continue
                except LedgerMoved:
                    await turn.wait(standing.customer_id)
                else:
                    if written == claim:
                        self.observe(claim)
                        return Claimed(claim=claim, is_repeat=False)
                standing = await log.standing(decision_id, rank) or standing
        return Claimed(claim=given, is_repeat=given == standing.claim)


class _Moment:
    """What is so at the moment of one attempt to judge a claim."""

    def __init__(self, *, decide: DecideHandler, delivery: Delivery, standing: Standing) -> None:
        self._decide, self._delivery = decide, delivery
        self._now = decide.now()
        if self._now < delivery.not_before:
            text = f"not to be delivered before {delivery.not_before.isoformat()}"
            raise Fault(FaultKind.PRECONDITION, errors_pb2.ERROR_REASON_CLAIM_TOO_EARLY, text)
        self._refusal = claiming.withdrawn(decide.playbook, delivery, self._now) or claiming.expired(
            delivery, standing, self._now
        )
        if self._refusal is None:
            try:
                self._checked = check(delivery.request_at(self._now), decide.playbook, self._now)
            except InvalidRequest:
                self._refusal = claiming.MISFIT

    async def known(self, remaining: Remaining) -> Known:
        """Read profile and features anew, unless there is nothing to ask them for."""
        delivery = self._delivery
        nobody = Profile(customer_id=delivery.customer_id)
        if self._refusal is not None:
            return Known(profile=nobody)
        known = await self._decide.resolver.resolve(self._checked, [delivery.action_id], remaining)
        action = self._decide.playbook.actions[delivery.action_id]
        if known.degradations and action.action_class not in consent.CLASSES_WITHOUT_CONSENT:
            lost = known.degradations[0]
            text = f"the claim cannot be judged: {lost.source.name.lower()} is out of reach"
            raise Fault(FaultKind.UNAVAILABLE, errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE, text)
        if known.profile is None or not known.profile.found:
            return replace(known, profile=nobody)
        return known

    async def reading(self, known: Known) -> Reading:
        """Read the ledger, at least its versions."""
        profile = known.profile or Profile(customer_id=self._delivery.customer_id)
        since = self._now - horizon(self._decide.playbook.policies)
        return await self._decide.journal.ledger(profile, since)

    async def written(
        self, write: Callable[[float], Awaitable[Claim]], known: Known, remaining: Remaining
    ) -> Claim:
        """Write a verdict while who is one customer may be acted on.

        Raises:
            LeaseOver: who is one has changed.
        """
        if self._refusal is not None:
            return await write(math.inf)
        return await self._decide.resolver.within_lease(write, self._checked, known, remaining)

    def judged(self, known: Known, reading: Reading, claim_id: str) -> Claim:
        """Return the verdict."""
        decide, delivery, now = self._decide, self._delivery, self._now
        refusal = self._refusal
        if refusal is None and known.profile is not None:
            situation = assess(
                decide.playbook,
                decide.feature_set,
                self._checked,
                known.profile,
                known.features,
                reading.ledger,
                claiming.still_withheld(decide.playbook, delivery),
            )
            refusal = claiming.refusal(
                decide.playbook, delivery, situation, now, is_degraded=bool(known.degradations)
            )
        if refusal is None:
            return Claim(claim_id=claim_id, time=now)
        return Claim(claim_id=claim_id, time=now, code=refusal.code, text=refusal.text)
