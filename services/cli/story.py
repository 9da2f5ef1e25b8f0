"""The story of one decision in short lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from zoneinfo import ZoneInfo

from tact.decision.v1 import decision_service_pb2 as pb

from services.cli.wording import age, effect, listed, moment, money, number, value, word, wrapped
from services.engine.instants import time_zone, zone
from services.engine.playbook.playbook import DO_NOTHING
from services.engine.playbook.rules import STAGES

MOST_CONTRIBUTIONS: Final = 8
_STAGES: Final = (*STAGES, "consent", "arm", "contact", "place", "content", "score", "arbitration", "veto")


def story(told: pb.ExplainDecisionResponse, width: int) -> str:
    """Tell a story; lines are broken at ``width`` where there is a space."""
    response = told.response
    here = time_zone(response.explanation.time_zone) or zone("UTC")
    sections = (
        _head(told, here),
        _chosen(response, here),
        _compared(response.explanation),
        _removed(response.explanation),
        _nearest(response.explanation),
        _features(response.explanation),
        _contributions(told),
        _outcomes(told, here),
    )
    texts = ("\n".join(wrapped(line, width) for line in lines) for lines in sections)
    return "\n\n".join(filter(None, texts)) + "\n"


def _head(told: pb.ExplainDecisionResponse, here: ZoneInfo) -> Iterator[str]:
    request, response, context = told.request, told.response, told.request.context
    arm_share, source = response.explanation.control_arm_share, response.explanation.time_zone_source
    mode = "dry run" if request.mode == pb.DECISION_MODE_DRY_RUN else "live"
    yield f"Decision {response.decision_id}, {mode}"
    rows = (
        ("customer", [response.customer_id or "unknown", _identity(request)]),
        ("actor", [request.actor.id, request.actor.device]),
        ("time", [moment(response.decision_time, here) + listed(", the zone of the ", [source])]),
        ("context", [context.placement, context.channel, context.device, context.intent, *_given(context)]),
        ("playbook", [response.playbook_version[:12]]),
        ("features", [response.feature_set_version[:12]]),
        ("made by", [_level(response)]),
        *(("without", [_lost(degradation)]) for degradation in response.degradations),
        ("arm", [response.control_arm and f"{response.control_arm} ({arm_share:.1%} of customers)"]),
    )
    yield from (line for name, words in rows if (line := listed(f"  {name:<9} ", words)))


def _level(response: pb.DecideResponse) -> str:
    level = word(pb.ServedBy.DESCRIPTOR, response.served_by, "SERVED_BY_")
    return level + listed(" (version ", [response.model_version], ")")


def _identity(request: pb.DecideRequest) -> str:
    customer = request.customer
    return f"known by {customer.identity.kind}" if customer.WhichOneof("key") == "identity" else ""


def _given(context: pb.DecisionContext) -> list[str]:
    return [f"{name} {value(context.attributes[name])}" for name in sorted(context.attributes)]


def _lost(degradation: pb.Degradation) -> str:
    source = word(pb.DegradationSource.DESCRIPTOR, degradation.source, "DEGRADATION_SOURCE_")
    cause = word(pb.DegradationCause.DESCRIPTOR, degradation.cause, "DEGRADATION_CAUSE_")
    return f"{source} ({cause}: {degradation.detail})"


def _chosen(response: pb.DecideResponse, here: ZoneInfo) -> Iterator[str]:
    yield "Chosen" if response.actions else "Left alone"
    yield from (f"  - {reason.text}" for reason in response.reasons)
    for action in response.actions:
        whom = word(pb.Recipient.DESCRIPTOR, action.recipient, "RECIPIENT_")
        place = f"by {action.channel}{listed(' on ', [action.device])} to the {whom}"
        yield f"  {action.rank}. {action.action_id}/{action.treatment_id} {place}"
        ends = [moment(action.expire_time, here)] if action.HasField("expire_time") else []
        yield f"     from {moment(action.not_before_time, here)}{listed(' until ', ends)}"
        yield f"     with a probability of {action.selection_probability:.1%}"
        yield from (f"     - {reason.text}" for reason in action.reasons)


def _compared(explanation: pb.Explanation) -> Iterator[str]:
    """Tell what made up the worth of what was left, the worthiest first."""
    left = [trace for trace in explanation.candidates if not trace.removed_stage]
    if len(left) > 1:
        yield "Compared"
        for trace in sorted(left, key=lambda one: (not one.HasField("priority"), -one.priority)):
            yield f"  {_name(trace)}: {_worth(trace)}{_place(trace)}"
            yield from _factors(trace, explanation)


def _place(trace: pb.CandidateTrace) -> str:
    chance = trace.rank_one_probability
    unranked = "" if trace.action_id == DO_NOTHING else "not chosen"
    words = [
        f"rank {trace.rank}" if trace.rank else unranked,
        f"first with a probability of {chance:.1%}" if 0.0 < chance < 1.0 else "",
        listed("later because of ", trace.moved_by),
    ]
    return "".join(f"; {one}" for one in words if one)


def _factors(trace: pb.CandidateTrace, explanation: pb.Explanation) -> Iterator[str]:
    for factor in trace.factors:
        yield f"    {effect(factor)} {factor.kind} {factor.name}: {factor.text}"
        yield from (f"      {line}" for line in _reads(factor.reads, explanation))


def _worth(trace: pb.CandidateTrace) -> str:
    parts = "chance unknown"
    if trace.action_id == DO_NOTHING:
        parts = "the least that an action must exceed"
    elif trace.HasField("propensity"):
        parts = f"chance {trace.propensity:.2%}, value {money(trace.value)}, cost {money(trace.cost)}"
    return f"{trace.priority:,.4f}, {parts}" if trace.HasField("priority") else parts


def _removed(explanation: pb.Explanation) -> Iterator[str]:
    """Tell the funnel by stage; what fell for the same reason is told together."""
    together: dict[tuple[str, ...], list[str]] = {}
    removed = [trace for trace in explanation.candidates if trace.removed_stage]
    for trace in sorted(removed, key=_stage):
        why = f"  {trace.removed_stage}, {trace.removed_rule}: {trace.removed_text}"
        reads = (f"    {line}" for line in _reads(trace.reads, explanation))
        together.setdefault((why, *reads), []).append(_name(trace))
    if together:
        yield "Removed"
    for lines, names in together.items():
        yield from (*lines, f"    {', '.join(names)}")


def _stage(trace: pb.CandidateTrace) -> int:
    return _STAGES.index(trace.removed_stage) if trace.removed_stage in _STAGES else len(_STAGES)


def _reads(reads: Iterable[pb.ValueTrace], explanation: pb.Explanation) -> Iterator[str]:
    ages = {f"feature.{one.name}": one.age for one in explanation.features if one.HasField("age")}
    for read in reads:
        if read.withheld:
            yield f"{read.name} is borrowed, so it was not logged"
        elif not read.HasField("value"):
            yield f"{read.name} is missing"
        else:
            length = read.age if read.HasField("age") else ages.get(read.name)
            origin = [listed("from ", [read.source]), f"{age(length)} old" if length is not None else ""]
            yield f"{read.name} = {value(read.value)}{listed(' (', origin, ')')}"


def _name(trace: pb.CandidateTrace) -> str:
    return f"{trace.action_id}/{trace.treatment_id}" if trace.treatment_id else trace.action_id


def _nearest(explanation: pb.Explanation) -> Iterator[str]:
    if not explanation.HasField("nearest_change"):
        return
    change = explanation.nearest_change
    ways = [
        f"its levers x {change.lever:.6g}" if change.HasField("lever") else "",
        f"a value of {money(change.value)}" if change.HasField("value") else "",
    ]
    yield "Nearest change"
    how = " or ".join(filter(None, ways)) or "no change of lever or value alone"
    yield f"  {change.action_id}/{change.treatment_id} would have come first with {how}."


def _features(explanation: pb.Explanation) -> Iterator[str]:
    if explanation.features:
        yield "Features"
    for feature in explanation.features:
        found = f"= {number(feature.value)}" if feature.HasField("value") else "is missing"
        yield f"  {feature.name} {found}" + (f" ({age(feature.age)} old)" if feature.HasField("age") else "")


def _contributions(told: pb.ExplainDecisionResponse) -> Iterator[str]:
    if told.contributions or told.contributions_missing:
        yield "Contributions to the scores, in log-odds"
    if told.contributions_missing:
        yield f"  {told.contributions_missing}"
    for candidate in told.contributions:
        yield f"  {candidate.action_id}"
        for one in candidate.contributions[:MOST_CONTRIBUTIONS]:
            yield f"    {one.contribution:+.4f} {one.feature}" + (
                f" = {number(one.value)}" if one.HasField("value") else ""
            )
        if others := candidate.contributions[MOST_CONTRIBUTIONS:]:
            yield f"    {sum(one.contribution for one in others):+.4f} {len(others)} others together"


def _outcomes(told: pb.ExplainDecisionResponse, here: ZoneInfo) -> Iterator[str]:
    if told.outcomes:
        yield "Outcomes"
    for outcome in told.outcomes:
        kind = word(pb.OutcomeKind.DESCRIPTOR, outcome.kind, "OUTCOME_KIND_")
        measures = (f"{name} {number(outcome.measures[name])}" for name in sorted(outcome.measures))
        override = ""
        if outcome.kind == pb.OUTCOME_KIND_OVERRIDDEN:
            did = outcome.instead_action_id or "nothing"
            override = f" by {outcome.actor_id or 'nobody named'}, who did {did} instead"
        when = moment(outcome.outcome_time, here)
        yield f"  rank {outcome.rank} {kind} at {when}{override}{listed(', ', measures)}"
