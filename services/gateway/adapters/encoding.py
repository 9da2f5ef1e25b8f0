"""Decisions as protos: what is answered, and what is logged."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from tact.decision.v1 import decision_service_pb2 as decision_pb
from tact.log.v1 import decision_record_pb2 as log_pb

from services.engine.instants import microseconds
from services.engine.playbook.playbook import DO_NOTHING
from services.engine.trace.reasons import Reason
from services.gateway.domain.decision import Chosen, Decision, Fate
from services.gateway.ports import Encoded

_MICROS = 1_000_000


class ProtoEncoder:
    """Encodes for one request as it was received."""

    def __init__(self, request: decision_pb.DecideRequest, caller: str) -> None:
        self._request = request
        self._caller = caller

    def encode(self, decision: Decision, record_time: datetime) -> Encoded:
        """Encode the answer and its log record, once with and once without the optional trace."""
        response = _response(decision)
        record = log_pb.DecisionRecord(
            caller=self._caller,
            request=self._request,
            response=response,
            record_time=timestamp(record_time),
            schema_fingerprint=decision.schema_fingerprint,
            customer_vector=decision.customer_vector,
            candidates=_candidate_records(decision),
        )
        plain = record.SerializeToString()
        if not decision.checked.request.include_explanation:
            return Encoded(response=response, record=plain, without_trace=plain)
        response.explanation.CopyFrom(_explanation(decision))
        record.response.explanation.CopyFrom(response.explanation)
        return Encoded(response=response, record=record.SerializeToString(), without_trace=plain)

    def response(self, record: bytes) -> decision_pb.DecideResponse:
        """Return the answer that a record holds."""
        return log_pb.DecisionRecord.FromString(record).response


def timestamp(moment: datetime) -> Timestamp:
    """Convert an aware datetime, exact to the microsecond."""
    micros = microseconds(moment)
    return Timestamp(seconds=micros // _MICROS, nanos=micros % _MICROS * 1000)


def plain(value: Value) -> object:
    """Return a value of JSON as a value of Python; None where it is null or nothing."""
    kind = value.WhichOneof("kind")
    return None if kind in (None, "null_value") else getattr(value, kind)


def _response(decision: Decision) -> decision_pb.DecideResponse:
    request = decision.checked.request
    response = decision_pb.DecideResponse(
        decision_id=request.decision_id,
        request_id=request.request_id,
        customer_id=decision.customer_id,
        actions=[_action(decision, rank, chosen) for rank, chosen in enumerate(decision.actions, start=1)],
        reasons=_reasons(decision.reasons),
        playbook_version=decision.playbook_version,
        model_version=decision.model_version,
        feature_set_version=decision.feature_set_version,
        served_by=decision_pb.ServedBy.Value(f"SERVED_BY_{decision.served_by.name}"),
        degradations=[
            decision_pb.Degradation(
                source=decision_pb.DegradationSource.Value(f"DEGRADATION_SOURCE_{lost.source.name}"),
                cause=decision_pb.DegradationCause.Value(f"DEGRADATION_CAUSE_{lost.cause.name}"),
                detail=lost.detail,
            )
            for lost in decision.degradations
        ],
        decision_time=timestamp(decision.checked.decision_time),
        as_of_sequence=0 if decision.features is None else decision.features.sequence,
    )
    for stage, duration in decision.timings.items():
        response.timings.add(stage=stage).duration.FromTimedelta(duration)
    response.total_duration.FromTimedelta(decision.total)
    return response


def _action(decision: Decision, rank: int, chosen: Chosen) -> decision_pb.RankedAction:
    fate = chosen.fate
    candidate = fate.candidate
    return decision_pb.RankedAction(
        rank=rank,
        action_id=fate.action_id,
        treatment_id=fate.treatment_id,
        channel=fate.treatment.channel,
        device=chosen.device,
        not_before_time=timestamp(chosen.not_before),
        expire_time=None if chosen.expires is None else timestamp(chosen.expires),
        propensity=None if candidate is None else candidate.propensity,
        value=_money(fate.action.value, decision.currency),
        cost=_money(fate.treatment.cost, decision.currency),
        priority=None if candidate is None else candidate.priority,
        selection_probability=1.0,
        reasons=_reasons(chosen.reasons),
        content=dict(fate.treatment.content),
    )


def _candidate_records(decision: Decision) -> Iterable[log_pb.CandidateRecord]:
    for fate in decision.fates:
        removal, candidate = fate.removal, fate.candidate
        yield log_pb.CandidateRecord(
            action_id=fate.action_id,
            treatment_id=fate.treatment_id,
            removed_stage="" if removal is None else removal.stage,
            removed_rule="" if removal is None else removal.rule,
            candidate_vector=fate.vector,
            propensity=None if candidate is None else candidate.propensity,
            priority=None if candidate is None else candidate.priority,
            rank_one_probability=1.0 if fate.rank == 1 and decision.actions else 0.0,
        )
    yield log_pb.CandidateRecord(
        action_id=DO_NOTHING,
        priority=decision.threshold_micros / _MICROS,
        rank_one_probability=0.0 if decision.actions else 1.0,
    )


def _explanation(decision: Decision) -> decision_pb.Explanation:
    explanation = decision_pb.Explanation(
        candidates=[_trace(decision, fate) for fate in decision.fates],
        time_zone=decision.time_zone,
        time_zone_source=decision.time_zone_source,
    )
    explanation.candidates.add(
        action_id=DO_NOTHING,
        priority=decision.threshold_micros / _MICROS,
        value=_money(0, decision.currency),
        cost=_money(0, decision.currency),
    )
    if (features := decision.features) is not None:
        since_read = decision.checked.decision_time - features.as_of
        for name, value in features.customer.items():
            trace = explanation.features.add(name=name, value=None if math.isnan(value) else value)
            if not math.isnan(age := features.ages.get(name, math.nan)):
                trace.age.FromTimedelta(timedelta(seconds=age) + since_read)
    return explanation


def _trace(decision: Decision, fate: Fate) -> decision_pb.CandidateTrace:
    removal, candidate = fate.removal, fate.candidate
    return decision_pb.CandidateTrace(
        action_id=fate.action_id,
        treatment_id=fate.treatment_id,
        channel=fate.treatment.channel,
        removed_stage="" if removal is None else removal.stage,
        removed_rule="" if removal is None else removal.rule,
        removed_text="" if removal is None else removal.text,
        propensity=None if candidate is None else candidate.propensity,
        value=_money(fate.action.value, decision.currency),
        cost=_money(fate.treatment.cost, decision.currency),
        priority=None if candidate is None else candidate.priority,
        rank=fate.rank if decision.actions else 0,
    )


def _money(micros: int, currency: str) -> decision_pb.Money:
    return decision_pb.Money(micros=micros, currency=currency)


def _reasons(reasons: Iterable[Reason]) -> list[decision_pb.Reason]:
    return [decision_pb.Reason(code=reason.code, text=reason.text) for reason in reasons]
