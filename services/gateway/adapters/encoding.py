"""Decisions as protos: what is answered, and what is logged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cached_property

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from tact.decision.v1 import decision_service_pb2 as decision_pb
from tact.log.v1 import decision_record_pb2 as log_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.expressions import Failed, Missing
from services.engine.playbook.playbook import DO_NOTHING, Playbook
from services.engine.policy.contact import Contact
from services.engine.policy.verdicts import Verdict
from services.engine.trace.reasons import Reason
from services.gateway.adapters.explanation import explanation
from services.gateway.adapters.messages import contact_record, money, record_of, timestamp, value_of
from services.gateway.adapters.sealing import sealed
from services.gateway.domain.decision import Chosen, Decision
from services.gateway.domain.knowledge import Features, Profile
from services.gateway.ports import Encoded

_MICROS = 1_000_000


class ProtoEncoder:
    """Encodes for one request as it was received."""

    def __init__(
        self, request: decision_pb.DecideRequest, caller: str, playbook: Playbook, features: FeatureSet
    ) -> None:
        self._request = request
        self._caller = caller
        self._playbook = playbook
        self._features = features

    def encode(self, decision: Decision, record_time: datetime) -> Encoded:
        """Encode the answer and its log record, once with and once without the optional trace."""
        response = response_of(decision)
        record = self.begun(decision, response, timestamp(record_time))
        record.candidates.extend(self.candidates(decision))
        plain = _written(record)
        if not decision.checked.request.include_explanation:
            return Encoded(response=response, record=plain, without_trace=plain)
        response.explanation.CopyFrom(explanation(decision, self._playbook))
        record.response.explanation.CopyFrom(response.explanation)
        return Encoded(response=response, record=_written(record), without_trace=plain)

    def begun(
        self, decision: Decision, response: decision_pb.DecideResponse, record_time: Timestamp
    ) -> log_pb.DecisionRecord:
        """Return the log record but for its candidates, an explanation and the digest."""
        record = log_pb.DecisionRecord(
            caller=self._caller,
            request=self.logged_request,
            response=response,
            record_time=record_time,
            schema_fingerprint=decision.schema_fingerprint,
            customer_vector=decision.customer_vector,
        )
        if decision.situation is not None:
            self._note(record, decision)
        return record

    def response(self, record: bytes) -> decision_pb.DecideResponse:
        """Return the answer that a record holds; raises the ``Fault`` of ``record_of``."""
        return record_of(record).response

    @cached_property
    def logged_request(self) -> decision_pb.DecideRequest:
        """Return the request without what is borrowed."""
        attributes = self._request.context.attributes
        borrowed = [name for name in attributes if f"context.{name}" in self._playbook.borrowed]
        if not borrowed:
            return self._request
        request = decision_pb.DecideRequest()
        request.CopyFrom(self._request)
        for name in borrowed:
            del request.context.attributes[name]
        return request

    def _note(self, record: log_pb.DecisionRecord, decision: Decision) -> None:
        """Write down what the decision rests on, so that it can be made again."""
        situation = decision.situation
        if situation is None:
            return
        record.control_arm_share = situation.arm_share
        record.profile.CopyFrom(_known_profile(situation.profile, self._playbook))
        if (features := situation.features) is not None:
            names = self._features.customer_names
            record.feature_vector = _vector(features.customer.get(name, math.nan) for name in names)
            record.feature_ages = _vector(features.ages.get(name, math.nan) for name in names)
            record.feature_time.CopyFrom(timestamp(features.as_of))
            record.feature_fingerprint = self._features.served_fingerprint
            record.feature_sequence = features.sequence
        if (ledger := situation.ledger) is not None:
            record.ledger.contacts.extend(
                contact_record(contact) for contact in ledger.contacts if contact.release_time is None
            )
            for answer in ledger.responses:
                told = record.ledger.responses.add(kind=answer.kind, response_time=timestamp(answer.time))
                told.contact.CopyFrom(contact_record(Contact(facts=answer.facts)))
            record.ledger.read_time.CopyFrom(timestamp(situation.contact_time))
        for (condition, action_id, treatment_id), verdict in sorted(situation.verdicts.borrowed.items()):
            record.withheld.add(
                condition=condition,
                action_id=action_id,
                treatment_id=treatment_id,
                verdict=_verdict(verdict),
                missing_name=verdict.name if isinstance(verdict, Missing) else "",
            )

    def candidates(self, decision: Decision) -> Iterator[log_pb.CandidateRecord]:
        """Yield the record of each candidate, then that of doing nothing."""
        features = None if decision.situation is None else decision.situation.features
        seen: set[str] = set()
        for fate in decision.fates:
            removal, candidate = fate.removal, fate.candidate
            row = b""
            if features is not None and fate.action_id not in seen:
                row = self._row(features, fate.action_id)
            seen.add(fate.action_id)
            yield log_pb.CandidateRecord(
                action_id=fate.action_id,
                treatment_id=fate.treatment_id,
                removed_stage="" if removal is None else removal.stage,
                removed_rule="" if removal is None else removal.rule,
                candidate_vector=fate.vector,
                propensity=fate.propensity,
                priority=None if candidate is None else candidate.priority_in(decision.arm),
                rank_one_probability=decision.conclusion.rank_one_probability(*fate.key),
                feature_row=row,
                prior=fate.prior,
            )
        yield log_pb.CandidateRecord(
            action_id=DO_NOTHING,
            priority=decision.threshold_micros / _MICROS,
            rank_one_probability=decision.conclusion.rank_one_probability(DO_NOTHING, ""),
        )

    def _row(self, features: Features, action_id: str) -> bytes:
        served = features.candidates.get(action_id, {})
        return _vector(served.get(name, math.nan) for name in self._features.candidate_names)


def _written(record: log_pb.DecisionRecord) -> bytes:
    return sealed(record.SerializeToString(deterministic=True))


def response_of(decision: Decision) -> decision_pb.DecideResponse:
    """Return the answer, without an explanation."""
    request = decision.checked.request
    features = None if decision.situation is None else decision.situation.features
    response = decision_pb.DecideResponse(
        decision_id=request.decision_id,
        request_id=request.request_id,
        customer_id=decision.customer_id,
        actions=[_action(decision, rank, chosen) for rank, chosen in enumerate(decision.actions, start=1)],
        reasons=_reasons(decision.conclusion.reasons),
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
        as_of_sequence=0 if features is None else features.sequence,
        control_arm=decision.arm,
    )
    for stage, duration in decision.timings.items():
        response.timings.add(stage=stage).duration.FromTimedelta(duration)
    response.total_duration.FromTimedelta(decision.total)
    return response


def _action(decision: Decision, rank: int, chosen: Chosen) -> decision_pb.RankedAction:
    fate, place = chosen.fate, chosen.place
    return decision_pb.RankedAction(
        rank=rank,
        action_id=fate.action_id,
        treatment_id=fate.treatment_id,
        channel=fate.treatment.channel,
        device=place.device,
        not_before_time=timestamp(place.not_before),
        expire_time=None if place.expires is None else timestamp(place.expires),
        propensity=chosen.candidate.propensity,
        value=money(fate.action.value, decision.currency),
        cost=money(fate.treatment.cost, decision.currency),
        priority=chosen.priority,
        selection_probability=chosen.selection_probability,
        reasons=_reasons(chosen.reasons),
        content=dict(fate.content),
        recipient=decision_pb.Recipient.Value(f"RECIPIENT_{fate.recipient.upper()}"),
        bundle=chosen.bundle,
        claim_by_time=None if chosen.offer.claim_by is None else timestamp(chosen.offer.claim_by),
    )


def _known_profile(profile: Profile, playbook: Playbook) -> log_pb.KnownProfile:
    known = log_pb.KnownProfile(member_ids=profile.members, identity_version=profile.identity_version)
    for name, value in profile.attributes.items():
        if f"profile.{name}" in playbook.borrowed:
            continue
        attribute = known.attributes[name]
        attribute.value.CopyFrom(value_of(value))
        if (origin := profile.origins.get(name)) is not None:
            attribute.record_time.CopyFrom(timestamp(origin.record_time))
            attribute.source = origin.source
    for (purpose, channel), permission in profile.permissions.items():
        state = profile_pb.CONSENT_STATE_GRANTED if permission.granted else profile_pb.CONSENT_STATE_DENIED
        consent = known.consents.add(purpose=purpose, channel=channel, state=state)
        if permission.expire_time is not None:
            consent.expire_time.CopyFrom(timestamp(permission.expire_time))
    return known


def _verdict(verdict: Verdict) -> log_pb.Verdict.ValueType:
    if isinstance(verdict, Missing):
        return log_pb.VERDICT_MISSING
    if isinstance(verdict, Failed):
        return log_pb.VERDICT_FAILED
    return log_pb.VERDICT_TRUE if verdict else log_pb.VERDICT_FALSE


def _vector(numbers: Iterable[float]) -> bytes:
    return np.fromiter(numbers, dtype="<f8").tobytes()


def _reasons(reasons: Iterable[Reason]) -> list[decision_pb.Reason]:
    return [decision_pb.Reason(code=reason.code, text=reason.text) for reason in reasons]
