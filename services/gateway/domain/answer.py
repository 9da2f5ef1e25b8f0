"""Arbitrates what is left and says why, also where nothing is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from services.engine.arbitration.arbitrate import Candidate, arbitrate
from services.engine.playbook.playbook import Playbook
from services.engine.policy.engagement import Removal
from services.engine.trace import reasons
from services.engine.trace.reasons import Reason
from services.gateway.domain.decision import Chosen, Decision, Fate
from services.gateway.domain.knowledge import Cause, Degradation, Model, ServedBy, Source
from services.gateway.domain.request import Checked

Propensity = Callable[[Fate], float | None]

UNKNOWN_CUSTOMER = Reason(code="UNKNOWN_CUSTOMER", text="This customer is not on file.")
UNRESOLVED = Reason(code="DEGRADED", text="Who this is cannot be told while profiles are out of reach.")
NOT_LOGGED = Reason(code="NOT_LOGGED", text="The decision could not be logged, so no action may leave.")


def assign(fates: Sequence[Fate], propensity: Propensity) -> None:
    """Make a candidate of every fate that remains.

    A standard action without a propensity is removed: its worth cannot be told.
    """
    for fate in fates:
        if fate.removal is not None:
            continue
        known = propensity(fate)
        if known is None and fate.action.action_class == "standard":
            text = "Scoring is away and no base rate is known, so only messages that must go may go."
            fate.removal = Removal(stage="score", rule="no_propensity", text=text)
            continue
        fate.candidate = Candidate(
            action_id=fate.action_id,
            treatment_id=fate.treatment_id,
            mandatory=fate.action.action_class == "mandatory",
            propensity=known,
            value_micros=fate.action.value,
            cost_micros=fate.treatment.cost,
        )


def choose(playbook: Playbook, fates: Sequence[Fate], limit: int) -> tuple[list[Fate], Candidate | None]:
    """Rank the candidates; return the chosen fates in order and what doing nothing beat, if any."""
    by_candidate = {id(fate.candidate): fate for fate in fates if fate.candidate is not None}
    candidates = [fate.candidate for fate in fates if fate.candidate is not None]
    slate = arbitrate(candidates, playbook.head.threshold, limit)
    chosen = [by_candidate[id(candidate)] for candidate in slate.ranked]
    for rank, fate in enumerate(chosen, start=1):
        fate.rank = rank
    return chosen, slate.beaten


def place(
    playbook: Playbook, checked: Checked, chosen: Sequence[Fate], model: Model | None, from_prior: bool
) -> list[Chosen]:
    """Give each chosen action its device, its time and its reasons."""
    context = checked.request.context
    return [
        Chosen(
            fate=fate,
            device=context.device if context.channel == fate.treatment.channel else "",
            not_before=checked.decision_time,
            expires=playbook.validity[fate.action_id][1],
            reasons=reasons.for_action(
                candidate,
                None if model is None else model.prior(fate.action.group),
                from_prior,
                playbook.head.currency,
            ),
        )
        for fate in chosen
        if (candidate := fate.candidate) is not None
    ]


def silence(playbook: Playbook, fates: Sequence[Fate], beaten: Candidate | None) -> list[Reason]:
    """Say why there is no action."""
    removed = [fate.removal for fate in fates if fate.removal is not None]
    return reasons.for_silence(removed, beaten, playbook.head.threshold, playbook.head.currency)


def silenced(decision: Decision, detail: str) -> Decision:
    """Take every action out of a decision that could not be logged; ``detail`` says why it could not."""
    lost = Degradation(source=Source.DECISION_LOG, cause=Cause.UNAVAILABLE, detail=detail)
    return replace(
        decision,
        actions=[],
        reasons=[NOT_LOGGED],
        served_by=ServedBy.NOTHING,
        degradations=[*decision.degradations, lost],
    )
