"""Decisions on record: what they rested on, and their stories as protos."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC
from typing import Final

import numpy as np
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb

from services.engine.playbook import values
from services.engine.playbook.expressions import Failed, Missing
from services.engine.playbook.playbook import Playbook
from services.engine.policy.contact import Ledger, Response
from services.engine.policy.verdicts import Asked, Verdict
from services.gateway.adapters.encoding import response_of
from services.gateway.adapters.explanation import explain
from services.gateway.adapters.messages import contact_of, origin, permission, plain, record_of, timestamp
from services.gateway.adapters.requests import decision_request
from services.gateway.domain.claiming import Delivery
from services.gateway.domain.contributions import Contribution
from services.gateway.domain.decision import Decision
from services.gateway.domain.knowledge import (
    Cause,
    Degradation,
    Features,
    Profile,
    ServedBy,
    Source,
    Vector,
)
from services.gateway.domain.making import Edition
from services.gateway.domain.outcomes import OutcomeReport
from services.gateway.domain.remaking import Recorded, RecordedCandidate
from services.gateway.domain.request import EARLIEST
from services.gateway.domain.scoring import Scored
from services.gateway.ports import NotRemade, Shown

_CANDIDATES_IN_A_ROW: Final = 100


class ProtoRecollection:
    """Implements ``Recollection`` on one record."""

    def __init__(self, record: log_pb.DecisionRecord) -> None:
        self._record = record

    @property
    def playbook_version(self) -> str:
        """Return the version that the decision was made by."""
        return self._record.response.playbook_version

    @property
    def shown(self) -> Shown | None:
        """Return what the model was shown."""
        record = self._record
        if not record.response.model_version:
            return None
        return Shown(
            model_version=record.response.model_version,
            fingerprint=record.schema_fingerprint,
            customer=_vector(record.customer_vector),
            rows={
                candidate.action_id: _vector(candidate.candidate_vector)
                for candidate in record.candidates
                if candidate.HasField("propensity")
            },
        )

    def recorded(self, edition: Edition) -> Generator[None, None, Recorded]:
        """Return what the decision rested on."""
        try:
            return (yield from recalling(self._record, edition))
        except (KeyError, ValueError, OverflowError) as error:
            raise NotRemade(f"the record says something that cannot be: {error}") from None


class ProtoStory(ProtoRecollection):
    """Implements ``Story``."""

    def __init__(self, record: bytes) -> None:
        super().__init__(record_of(record))
        self._told = pb.ExplainDecisionResponse(request=self._record.request, response=self._record.response)

    @property
    def is_explained(self) -> bool:
        """Tell whether the record holds the explanation already."""
        return self._record.response.HasField("explanation")

    def is_told_by(self, decision: Decision) -> bool:
        """Tell whether a decision is answered as the one on record was."""
        return response_of(decision) == self._record.response

    def explain(self, decision: Decision, playbook: Playbook) -> Generator[None, None, None]:
        """Add the explanation of the same decision."""
        return explain(self._told.response.explanation, decision, playbook)

    def contribute(self, action_id: str, contributions: Sequence[Contribution]) -> None:
        """Add what made the score of one action."""
        self._told.contributions.add(
            action_id=action_id,
            contributions=[
                pb.Contribution(
                    feature=one.feature,
                    value=None if math.isnan(one.value) else one.value,
                    contribution=one.amount,
                )
                for one in contributions
            ],
        )

    def told(
        self, outcomes: Sequence[OutcomeReport], contributions_missing: str
    ) -> pb.ExplainDecisionResponse:
        """Return the whole story."""
        self._told.outcomes.extend(map(_outcome, outcomes))
        self._told.contributions_missing = contributions_missing
        return self._told


def recalling(record: log_pb.DecisionRecord, edition: Edition) -> Generator[None, None, Recorded]:
    """Return what a decision rested on; at each yield, other work may have its turn.

    Raises:
        NotRemade: its features are not laid out as the edition's.
    """
    layout = edition.feature_set.served_fingerprint
    if record.HasField("feature_time") and record.feature_fingerprint != layout:
        text = f"the features on record are of layout {record.feature_fingerprint}, here they are of {layout}"
        raise NotRemade(text)
    candidates: dict[tuple[str, str], RecordedCandidate] = {}
    rows: dict[str, Mapping[str, float]] = {}
    names = edition.feature_set.candidate_names
    for number, candidate in enumerate(record.candidates, start=1):
        candidates[candidate.action_id, candidate.treatment_id] = _candidate(candidate)
        if candidate.feature_row:
            rows[candidate.action_id] = _named(names, candidate.feature_row)
        if number % _CANDIDATES_IN_A_ROW == 0:
            yield
    response = record.response
    return Recorded(
        request=decision_request(record.request, record.caller, response.request_id),
        decision_time=response.decision_time.ToDatetime(UTC),
        profile=_profile(record, edition.playbook),
        features=_features(record, rows, edition),
        ledger=_ledger(record),
        contact_time=record.ledger.read_time.ToDatetime(UTC) if record.HasField("ledger") else None,
        withheld=dict(map(_withheld, record.withheld)),
        candidates=candidates,
        scored=_scored(record),
        timings={timing.stage: timing.duration.ToTimedelta() for timing in response.timings},
        total=response.total_duration.ToTimedelta(),
    )


def _profile(record: log_pb.DecisionRecord, playbook: Playbook) -> Profile | None:
    if not record.HasField("profile"):
        is_unresolved = record.response.served_by == pb.SERVED_BY_NOTHING
        return None if is_unresolved else Profile(found=False)
    declared, known = playbook.profile.attributes, record.profile
    return Profile(
        customer_id=record.response.customer_id,
        attributes={
            name: values.parse(declared[name], plain(attribute.value))
            for name, attribute in known.attributes.items()
        },
        origins={
            name: origin(attribute)
            for name, attribute in known.attributes.items()
            if attribute.HasField("record_time")
        },
        permissions={(consent.purpose, consent.channel): permission(consent) for consent in known.consents},
        members=tuple(known.member_ids),
        identity_version=known.identity_version,
    )


def _features(
    record: log_pb.DecisionRecord, rows: Mapping[str, Mapping[str, float]], edition: Edition
) -> Features | None:
    if not record.HasField("feature_time"):
        return None
    names = edition.feature_set.customer_names
    return Features(
        as_of=record.feature_time.ToDatetime(UTC),
        # Older records tell it in the answer alone.
        sequence=record.feature_sequence or record.response.as_of_sequence,
        customer=_named(names, record.feature_vector),
        ages=_named(names, record.feature_ages),
        candidates=rows,
    )


def _ledger(record: log_pb.DecisionRecord) -> Ledger | None:
    if not record.HasField("ledger"):
        return None
    return Ledger(
        contacts=[contact_of(contact) for contact in record.ledger.contacts],
        responses=[
            Response(
                facts=contact_of(told.contact).facts,
                kind=told.kind,
                time=told.response_time.ToDatetime(UTC),
            )
            for told in record.ledger.responses
        ],
    )


def delivery_of(record: bytes, rank: int) -> Delivery | None:
    """Find one ranked action in a log record; None where the record has no such rank."""
    logged = record_of(record)
    response = logged.response
    if rank > len(response.actions):
        return None
    action = response.actions[rank - 1]
    not_before = action.not_before_time.ToDatetime(UTC)
    return Delivery(
        request=decision_request(logged.request, logged.caller, response.request_id),
        customer_id=response.customer_id,
        action_id=action.action_id,
        treatment_id=action.treatment_id,
        # What was not moved may go at once, by whoever's clock.
        not_before=EARLIEST if action.not_before_time == response.decision_time else not_before,
        expires=action.expire_time.ToDatetime(UTC) if action.HasField("expire_time") else None,
        withheld=dict(map(_withheld, logged.withheld)),
    )


def _withheld(withheld: log_pb.WithheldVerdict) -> tuple[Asked, Verdict]:
    asked = (withheld.condition, withheld.action_id, withheld.treatment_id)
    if withheld.verdict == log_pb.VERDICT_MISSING:
        return asked, Missing(name=withheld.missing_name)
    if withheld.verdict == log_pb.VERDICT_FAILED:
        return asked, Failed(message="withheld")
    return asked, withheld.verdict == log_pb.VERDICT_TRUE


def _candidate(candidate: log_pb.CandidateRecord) -> RecordedCandidate:
    return RecordedCandidate(
        propensity=candidate.propensity if candidate.HasField("propensity") else None,
        prior=candidate.prior if candidate.HasField("prior") else None,
        vector=candidate.candidate_vector,
    )


def _scored(record: log_pb.DecisionRecord) -> Scored:
    response = record.response
    return Scored(
        served_by=ServedBy[pb.ServedBy.Name(response.served_by).removeprefix("SERVED_BY_")],
        degradations=tuple(map(_degradation, response.degradations)),
        model_version=response.model_version,
        fingerprint=record.schema_fingerprint,
        customer_vector=record.customer_vector,
    )


def _degradation(lost: pb.Degradation) -> Degradation:
    source = pb.DegradationSource.Name(lost.source).removeprefix("DEGRADATION_SOURCE_")
    cause = pb.DegradationCause.Name(lost.cause).removeprefix("DEGRADATION_CAUSE_")
    return Degradation(source=Source[source], cause=Cause[cause], detail=lost.detail)


def _outcome(report: OutcomeReport) -> pb.Outcome:
    return pb.Outcome(
        outcome_id=report.outcome_id,
        decision_id=report.decision_id,
        rank=report.rank,
        kind=pb.OutcomeKind.Value(f"OUTCOME_KIND_{report.kind}"),
        outcome_time=timestamp(report.outcome_time),
        measures=report.measures,
        instead_action_id=report.instead_action_id,
        actor_id=report.actor_id,
    )


def _named(names: Sequence[str], vector: bytes) -> dict[str, float]:
    return dict(zip(names, _vector(vector).tolist(), strict=True))


def _vector(numbers: bytes) -> Vector:
    return np.frombuffer(numbers, "<f8")
