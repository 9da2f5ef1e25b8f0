"""Arbitrates what is left and says why, also where nothing is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from services.engine import instants
from services.engine.arbitration.candidates import Candidate, key, nothing_key, preferred
from services.engine.arbitration.draw import draw_of
from services.engine.arbitration.nearest import NearestChange, nearest_change
from services.engine.arbitration.slate import Ranked, Slate, slate
from services.engine.playbook.formulas import FEATURE
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.schema.policies import Lever, Promise, Weight
from services.engine.policy import consent, promises
from services.engine.policy.contact import is_counted
from services.engine.policy.engagement import Removal
from services.engine.policy.place import Place
from services.engine.trace import reasons
from services.engine.trace.reasons import Reason
from services.gateway.domain.decision import Chosen, Conclusion, Decision, Factor, Fate
from services.gateway.domain.funnel import concerning
from services.gateway.domain.knowledge import Cause, Degradation, ServedBy, Source
from services.gateway.domain.ledger import Offer
from services.gateway.domain.request import Checked
from services.gateway.domain.situation import Situation

Propensity = Callable[[Fate], float | None]

UNKNOWN_CUSTOMER = Reason(code="UNKNOWN_CUSTOMER", text="This customer is not on file.")
UNRESOLVED = Reason(code="DEGRADED", text="Who this is cannot be told while profiles are out of reach.")
NOT_LOGGED = Reason(code="NOT_LOGGED", text="The decision could not be logged, so no action may leave.")
_MICROS = 1e6
_LARGEST_FACTOR = 1e15


def assign(
    playbook: Playbook, fates: Sequence[Fate], situation: Situation, checked: Checked, propensity: Propensity
) -> None:
    """Make a candidate of every fate that remains.

    A standard or default action without a propensity is removed: its worth cannot be told. So is one
    whose propensity lies below the least that the playbook asks for, and what a lever of 0 vetoes.
    """
    for fate in fates:
        if fate.removal is not None:
            continue
        fate.propensity = propensity(fate)
        fate.factors = tuple(_factors(playbook, fate, situation, checked))
        fate.removal = _improbable(playbook, fate) or _vetoed(fate, situation)
        if fate.removal is None and fate.place is not None:
            fate.candidate = _candidate(playbook, fate, situation, checked)


def withhold(playbook: Playbook, fates: Sequence[Fate], situation: Situation) -> None:
    """Remove what waits for something else that could be chosen, or that is under way."""
    left = [fate for fate in fates if fate.candidate is not None]
    possible = [fate.facts for fate in left if _may_be_chosen(playbook, fate.candidate, situation.arm)]
    for fate in left:
        fate.removal = situation.contacts.waiting(concerning(playbook, fate), fate.facts, possible)
        if fate.removal is not None:
            fate.candidate = None


def _may_be_chosen(playbook: Playbook, one: Candidate | None, arm: str) -> bool:
    """Tell whether a candidate beats doing nothing, or may be drawn; a default never comes before others."""
    if one is None or one.action_class == "default":
        return False
    if one.action_class == "mandatory" or one.priority is None:
        return True
    if playbook.head.exploration is not None or arm == "random_eligible":
        return True
    its = "" if one.ignores_arms else arm
    return key(one, one.priority_in(its)) < nothing_key(playbook.head.threshold, its)


def conclude(
    playbook: Playbook, fates: Sequence[Fate], situation: Situation, checked: Checked, from_prior: bool
) -> Conclusion:
    """Rank the candidates; set the rank of those chosen."""
    head = playbook.head
    candidates = [fate.candidate for fate in fates if fate.candidate is not None]
    chosen = slate(
        candidates,
        threshold_micros=head.threshold,
        limit=checked.limit,
        limits=head.slate,
        bundles={name: bundle.actions for name, bundle in playbook.catalogue.bundles.items()},
        exploration=head.exploration,
        arm=situation.arm,
        draw=draw_of(checked.request.decision_id),
    )
    owners = {fate.key: fate for fate in fates}
    actions = []
    for rank, ranked in enumerate(chosen.ranked, start=1):
        fate = owners[ranked.candidate.place]
        fate.rank = rank
        actions.append(_chosen(playbook, fate, ranked, situation, checked, from_prior))
    return Conclusion(
        actions=actions,
        reasons=[] if actions else _silence(playbook, fates, chosen, situation),
        rank_one=chosen.rank_one,
    )


def silenced(decision: Decision, detail: str) -> Decision:
    """Take every action out of a decision that could not be logged; ``detail`` says why it could not."""
    lost = Degradation(source=Source.DECISION_LOG, cause=Cause.UNAVAILABLE, detail=detail)
    return replace(
        decision,
        conclusion=replace(decision.conclusion, actions=[], reasons=[NOT_LOGGED]),
        served_by=ServedBy.NOTHING,
        degradations=[*decision.degradations, lost],
    )


def _improbable(playbook: Playbook, fate: Fate) -> Removal | None:
    if fate.needs_no_consent:
        return None
    if (propensity := fate.propensity) is None:
        text = "Scoring is away and no base rate is known, so only messages that must go may go."
        return Removal(stage="score", rule="no_propensity", text=text)
    own = fate.action.minimum_propensity
    least = playbook.head.minimum_propensity if own is None else own
    if propensity >= least:
        return None
    text = f"The chance of success is estimated at {propensity:.1%}, less than the least of {least:.1%}."
    return Removal(stage="arbitration", rule="minimum_propensity", text=text)


def _vetoed(fate: Fate, situation: Situation) -> Removal | None:
    """Remove what a lever of 0 is about, except where the control arm knows no levers."""
    if situation.arm == "no_levers" and not fate.needs_no_consent:
        return None
    for factor in fate.factors:
        if factor.kind == "lever" and factor.amount == 0.0:
            return Removal(stage="veto", rule=factor.name, text=factor.text)
    return None


def _factors(playbook: Playbook, fate: Fate, situation: Situation, checked: Checked) -> Iterator[Factor]:
    for rule in concerning(playbook, fate).others:
        statement = rule.rule
        if isinstance(statement, Weight) and situation.verdicts.of(rule, *fate.key) is True:
            yield Factor(
                kind="weight",
                name=statement.name,
                text=statement.text,
                amount=statement.factor,
                reads=rule.expression.reads if rule.expression else frozenset(),
            )
        elif isinstance(statement, Promise):
            yield from _promised(statement, situation, checked.decision_time)
        elif isinstance(statement, Lever):
            yield Factor(kind="lever", name=statement.name, text=statement.text, amount=statement.factor)
    for name, expected in fate.action.measures.items():
        measure = playbook.head.measures[name]
        if measure.worth:
            text = f"Expected {name} of {expected:g}, each worth {measure.worth / _MICROS:,.2f}."
            amount = round(expected * measure.worth) / _MICROS
            yield Factor(kind="measure", name=name, text=text, amount=amount)
    for cost, count in situation.contacts.costs(concerning(playbook, fate), fate.facts):
        text = f"{cost.text} ({count} before, each for {cost.amount / _MICROS:,.2f} {playbook.head.currency})"
        yield Factor(kind="repeat_cost", name=cost.name, text=text, amount=-cost.amount * count / _MICROS)


def _promised(promise: Promise, situation: Situation, at: datetime) -> Iterator[Factor]:
    """Tell what an open promise raises; what was read earlier has been waiting on since."""
    name, features = FEATURE + promise.feature, situation.features
    if features is not None and (waiting := situation.values.get(name)) is not None:
        age = waiting + (at - features.as_of).total_seconds()
        yield Factor(
            kind="promise",
            name=promise.name,
            text=f"{promise.text} ({promises.standing(promise, age)})",
            amount=promises.factor(promise, age),
            reads=frozenset({name}),
        )


def _candidate(playbook: Playbook, fate: Fate, situation: Situation, checked: Checked) -> Candidate:
    channel = playbook.head.channels[fate.treatment.channel]
    measures = playbook.head.measures
    at, permissions = checked.decision_time, situation.profile.permissions
    return Candidate(
        action_id=fate.action_id,
        treatment_id=fate.treatment_id,
        group=fate.action.group,
        channel=fate.treatment.channel,
        action_class=fate.action.action_class,
        propensity=fate.propensity,
        value_micros=fate.action.value,
        cost_micros=fate.treatment.cost,
        extra_cost_micros=sum(
            rule.amount * count
            for rule, count in situation.contacts.costs(concerning(playbook, fate), fate.facts)
        ),
        slots=situation.contacts.slots(concerning(playbook, fate), fate.facts),
        measures_micros=sum(
            round(expected * measures[name].worth) for name, expected in fate.action.measures.items()
        ),
        weight=_product(fate, "weight", "promise"),
        lever=_product(fate, "lever"),
        consented=consent.is_granted(permissions, fate.action.purpose, fate.treatment.channel, at),
        urgent=fate.action.urgent,
        delay_seconds=math.inf if channel.delay is None else channel.delay.total_seconds(),
        not_before=0 if fate.place is None else instants.microseconds(fate.place.not_before),
    )


def _product(fate: Fate, *kinds: str) -> float:
    """Multiply the factors of these kinds; bounded, so that worth stays finite."""
    return min(math.prod(factor.amount for factor in fate.factors if factor.kind in kinds), _LARGEST_FACTOR)


def _chosen(
    playbook: Playbook,
    fate: Fate,
    ranked: Ranked,
    situation: Situation,
    checked: Checked,
    from_prior: bool,
) -> Chosen:
    if fate.place is None:
        raise ValueError("only what has a place is ranked")
    return Chosen(
        fate=fate,
        candidate=ranked.candidate,
        place=fate.place,
        priority=ranked.priority,
        selection_probability=ranked.selection_probability,
        bundle=ranked.bundle,
        reasons=reasons.for_action(
            ranked,
            why=fate.why,
            prior=fate.prior,
            from_prior=from_prior,
            currency=playbook.head.currency,
            factors=[(factor.kind, factor.text) for factor in fate.factors if factor.matters],
            moved_by=[_name_of_mover(playbook, name) for name in fate.place.moved_by],
            bundle=playbook.catalogue.bundles[ranked.bundle].text if ranked.bundle else "",
            arm="" if fate.needs_no_consent else situation.arm,
        ),
        offer=Offer(
            facts=fate.facts,
            is_inbound=playbook.head.channels[fate.treatment.channel].inbound,
            claim_by=_claim_by(playbook, fate, fate.place) if checked.request.live else None,
            decided=situation.contact_time,
        ),
    )


def _claim_by(playbook: Playbook, fate: Fate, where: Place) -> datetime | None:
    """Return when the reservation of a treatment ends, None where nothing counts it."""
    if not is_counted(playbook.rules, concerning(playbook, fate), fate.facts):
        return None
    latest = where.not_before + playbook.policies.claim_within
    return latest if where.expires is None else min(latest, where.expires)


def _name_of_mover(playbook: Playbook, name: str) -> str:
    """Return the sentence of what moved an action to later."""
    for rule in (*playbook.policies.quiet_hours, *playbook.policies.preferred_hours):
        if rule.name == name:
            return rule.text
    return "It waits for a device that it fits."


def _silence(playbook: Playbook, fates: Sequence[Fate], chosen: Slate, situation: Situation) -> list[Reason]:
    removed = [fate.removal for fate in fates if fate.removal is not None]
    return reasons.for_silence(
        removed, chosen, playbook.head.threshold, playbook.head.currency, situation.arm
    )


def nearest(playbook: Playbook, decision: Decision) -> tuple[Candidate, NearestChange] | None:
    """Find the runner-up and what would have made it win, where worth alone decided.

    A lever or a value is the whole action's, so its treatment that asks for the least counts.
    """
    if decision.arm or playbook.head.exploration is not None or decision.situation is None:
        return None
    if decision.conclusion.reasons == [NOT_LOGGED]:
        return None
    winner = decision.actions[0].candidate if decision.actions else None
    if winner is not None and winner.action_class in ("mandatory", "default"):
        return None
    rivals = [
        candidate
        for candidate in preferred((fate.candidate for fate in decision.fates if fate.candidate), "")
        if candidate.action_class in ("standard", "transactional")
        and candidate.priority is not None
        and (winner is None or candidate.action_id != winner.action_id)
    ]
    if not rivals:
        return None
    runner_up = min(rivals, key=lambda rival: (-(rival.priority or 0.0), *rival.place))
    treatments = [rival for rival in rivals if rival.action_id == runner_up.action_id]
    changes = [nearest_change(winner, rival, playbook.head.threshold) for rival in treatments]
    levers = [change.lever for change in changes if change.lever is not None]
    values = [change.value_micros for change in changes if change.value_micros is not None]
    return runner_up, NearestChange(
        lever=min(levers, key=lambda lever: abs(lever - 1.0), default=None),
        value_micros=min(values, key=lambda value: abs(value - runner_up.value_micros), default=None),
    )
