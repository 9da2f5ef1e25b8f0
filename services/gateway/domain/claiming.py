"""Whether a treatment that was decided may still be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.engine.playbook.expressions import KNOWN
from services.engine.playbook.playbook import Playbook
from services.engine.policy import consent
from services.engine.policy.contact import facts_of
from services.engine.policy.engagement import sentence
from services.engine.policy.verdicts import Asked, Verdict
from services.gateway.domain.ledger import Claim, Standing
from services.gateway.domain.request import CustomerKey, DecisionRequest
from services.gateway.domain.situation import Situation

_CODES: Final = {"suppression": "SUPPRESSED", "stop": "POINTLESS"}
ALREADY_CLAIMED: Final = "ALREADY_CLAIMED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One ranked action as it was answered, and the request that it answered.

    ``withheld`` are the verdicts of conditions that read a borrowed value.
    """

    request: DecisionRequest
    customer_id: str
    action_id: str
    treatment_id: str
    not_before: datetime
    expires: datetime | None
    withheld: Mapping[Asked, Verdict]

    def request_at(self, now: datetime) -> DecisionRequest:
        """Return the request as if it came now and were about this action alone."""
        return replace(
            self.request,
            customer=CustomerKey(customer_id=self.customer_id),
            decision_time=now,
            action_ids=(self.action_id,),
            groups=(),
            min_sequence=0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why not: a stable code and a sentence."""

    code: str
    text: str


MISFIT: Final = Refusal(code="WITHDRAWN", text="What was asked does not fit the playbook in use any more.")


def given(standing: Standing, claim_id: str) -> Claim | None:
    """Return the verdict that stands, None where nobody has claimed yet.

    Another sender's claim, and a delivery that was reported without one, leave nothing to claim.
    """
    claim, contact = standing.claim, standing.contact
    if claim is not None and (not claim.goes or claim.claim_id == claim_id):
        return claim
    if claim is not None:
        text = "Another sender has claimed it."
        return Claim(claim_id=claim_id, time=claim.time, code=ALREADY_CLAIMED, text=text)
    if contact is not None and contact.consume_time is not None:
        text = "Its delivery was reported already."
        return Claim(claim_id=claim_id, time=contact.consume_time, code=ALREADY_CLAIMED, text=text)
    return None


def expired(delivery: Delivery, standing: Standing, now: datetime) -> Refusal | None:
    """Refuse what has lost its point by time, or whose reservation is over; both ends are exclusive."""
    if delivery.expires is not None and now >= delivery.expires:
        return Refusal(code="EXPIRED", text="The action or its consent has expired.")
    reserved_until = None if standing.contact is None else standing.contact.expire_time
    if reserved_until is not None and now >= reserved_until:
        return Refusal(code="EXPIRED", text="The reservation was not claimed in time.")
    return None


def withdrawn(playbook: Playbook, delivery: Delivery, now: datetime) -> Refusal | None:
    """Refuse what the playbook in use does not offer any more."""
    action = playbook.actions.get(delivery.action_id)
    if action is None or delivery.treatment_id not in action.treatments:
        return Refusal(code="WITHDRAWN", text="The playbook in use does not have it any more.")
    if not playbook.is_live(delivery.action_id, now):
        return Refusal(code="WITHDRAWN", text="The action is not live any more.")
    return None


def refusal(
    playbook: Playbook, delivery: Delivery, situation: Situation, now: datetime, *, is_degraded: bool
) -> Refusal | None:
    """Refuse what consent, suppressions, its own ``stop_when`` or the contact policy do not let go.

    A condition that stays undecided refuses; where something could not be read, which only what needs
    no consent survives, it does not.
    """
    action = playbook.actions[delivery.action_id]
    treatment = action.treatments[delivery.treatment_id]
    key = (delivery.action_id, action, delivery.treatment_id, treatment)
    if (missing := consent.removal(action, treatment, situation.profile.permissions, now)) is not None:
        return Refusal(code="NO_CONSENT", text=missing.text)
    concerning = playbook.rules.concerning(*key)
    for rule in (*concerning.shared, *concerning.own):
        if rule.section not in _CODES:
            continue
        verdict = situation.verdicts.of(rule, delivery.action_id, delivery.treatment_id)
        if verdict is True or (verdict is not False and not is_degraded):
            return Refusal(code=_CODES[rule.section], text=sentence(rule, verdict))
    over = situation.contacts.claim_removal(concerning, facts_of(*key))
    return None if over is None else Refusal(code="CONTACT_POLICY", text=over.text)


def still_withheld(playbook: Playbook, delivery: Delivery) -> dict[Asked, Verdict]:
    """Return the verdicts on record of conditions whose borrowed values only the request held."""
    gone = {name for name in playbook.borrowed if name.startswith("context.")}
    conditions = (rule.expression for rule in playbook.rules.rules if rule.expression is not None)
    asked = {
        condition.text
        for condition in conditions
        if any(name.removeprefix(KNOWN) in gone for name in condition.reads)
    }
    return {key: verdict for key, verdict in delivery.withheld.items() if key[0] in asked}
