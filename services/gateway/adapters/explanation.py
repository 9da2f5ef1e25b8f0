"""The whole trace of a decision as a proto."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterator
from datetime import timedelta

from tact.decision.v1 import decision_service_pb2 as pb

from services.engine.playbook.expressions import KNOWN
from services.engine.playbook.playbook import DO_NOTHING, Playbook
from services.gateway.adapters.messages import money, timestamp, value_of
from services.gateway.domain import answer
from services.gateway.domain.decision import Decision, Factor, Fate
from services.gateway.domain.remaking import PORTION
from services.gateway.domain.situation import Situation


def explanation(decision: Decision, playbook: Playbook) -> pb.Explanation:
    """Tell what became of every candidate, and what the decision rested on."""
    told = pb.Explanation()
    for _ in explain(told, decision, playbook):
        pass
    return told


def explain(told: pb.Explanation, decision: Decision, playbook: Playbook) -> Generator[None, None, None]:
    """Write an explanation; at each yield, other work may have its turn."""
    for start in range(0, len(decision.fates), PORTION):
        portion = decision.fates[start : start + PORTION]
        told.candidates.extend(_trace(decision, fate, playbook) for fate in portion)
        yield
    told.candidates.add(
        action_id=DO_NOTHING,
        priority=decision.threshold_micros / 1e6,
        value=money(0, decision.currency),
        cost=money(0, decision.currency),
        rank_one_probability=decision.conclusion.rank_one_probability(DO_NOTHING, ""),
    )
    if (situation := decision.situation) is not None:
        told.features.extend(_features(decision, situation))
        told.time_zone = situation.zones.zones[0].key
        told.time_zone_source = situation.zones.source
        told.control_arm_share = situation.arm_share
    if (found := answer.nearest(playbook, decision)) is not None:
        runner_up, change = found
        told.nearest_change.CopyFrom(
            pb.NearestChange(
                action_id=runner_up.action_id,
                treatment_id=runner_up.treatment_id,
                lever=change.lever,
                value=None if change.value_micros is None else money(change.value_micros, decision.currency),
            )
        )


def _trace(decision: Decision, fate: Fate, playbook: Playbook) -> pb.CandidateTrace:
    removal, candidate, situation = fate.removal, fate.candidate, decision.situation
    trace = pb.CandidateTrace(
        action_id=fate.action_id,
        treatment_id=fate.treatment_id,
        channel=fate.treatment.channel,
        removed_stage="" if removal is None else removal.stage,
        removed_rule="" if removal is None else removal.rule,
        removed_text="" if removal is None else removal.text,
        propensity=fate.propensity,
        value=money(fate.action.value, decision.currency),
        cost=money(fate.treatment.cost, decision.currency),
        priority=None if candidate is None else candidate.priority_in(decision.arm),
        rank=fate.rank if decision.actions else 0,
        rank_one_probability=decision.conclusion.rank_one_probability(*fate.key),
    )
    if situation is not None:
        if removal is not None:
            reads = removal.condition.reads if removal.condition else ()
            trace.reads.extend(_reads(reads, fate, situation, decision, playbook))
        for factor in fate.factors:
            if factor.matters:
                read = _reads(factor.reads, fate, situation, decision, playbook)
                trace.factors.append(_factor(factor, read))
    if fate.place is not None:
        trace.not_before_time.CopyFrom(timestamp(fate.place.not_before))
        trace.moved_by.extend(fate.place.moved_by)
    return trace


def _factor(factor: Factor, reads: Iterator[pb.ValueTrace]) -> pb.FactorTrace:
    return pb.FactorTrace(
        kind=factor.kind, name=factor.name, text=factor.text, factor=factor.amount, reads=reads
    )


def _reads(
    reads: Collection[str], fate: Fate, situation: Situation, decision: Decision, playbook: Playbook
) -> Iterator[pb.ValueTrace]:
    """Tell what was read; a borrowed value is withheld."""
    values, origins = situation.verdicts.values_of(*fate.key), situation.profile.origins
    for name in sorted({name.removeprefix(KNOWN) for name in reads}):
        if name in playbook.borrowed:
            yield pb.ValueTrace(name=name, withheld=True)
            continue
        trace = pb.ValueTrace(name=name)
        if (value := values.get(name)) is not None:
            trace.value.CopyFrom(value_of(value))
        origin = origins.get(name.removeprefix("profile.")) if name.startswith("profile.") else None
        if origin is not None and value is not None:
            trace.source = origin.source
            trace.age.FromTimedelta(decision.checked.decision_time - origin.record_time)
        yield trace


def _features(decision: Decision, situation: Situation) -> Iterator[pb.FeatureTrace]:
    features = situation.features
    if features is None:
        return
    since_read = decision.checked.decision_time - features.as_of
    for name, value in sorted(features.customer.items()):
        trace = pb.FeatureTrace(name=name, value=None if math.isnan(value) else value)
        if not math.isnan(age := features.ages.get(name, math.nan)):
            trace.age.FromTimedelta(timedelta(seconds=age) + since_read)
        yield trace
