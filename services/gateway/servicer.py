"""Translates between the contract and the gateway's handlers."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC
from typing import Any

from google.protobuf.struct_pb2 import Value
from tact.decision.v1 import decision_service_pb2 as pb

from services.chassis.faults import Fault, Violation, invalid, to_item_error
from services.chassis.rpc import Call
from services.gateway.adapters.encoding import ProtoEncoder
from services.gateway.domain.request import Context, CustomerKey, DecisionRequest, decision_id
from services.gateway.handlers import DecideHandler
from services.gateway.outcomes import OutcomeHandler
from services.gateway.ports import OutcomeReport

_LONGEST_ID = 128


class DecisionServicer:
    """Serves ``tact.decision.v1.DecisionService``."""

    def __init__(self, decide: DecideHandler, outcomes: OutcomeHandler) -> None:
        self._decide = decide
        self._outcomes = outcomes

    async def Decide(self, request: pb.DecideRequest, call: Call) -> Any:
        """Answer one decision."""
        live = request.mode != pb.DECISION_MODE_DRY_RUN
        if len(request.request_id) > _LONGEST_ID:
            raise invalid(Violation("request_id", f"must have at most {_LONGEST_ID} characters"))
        request_id = request.request_id or str(uuid.uuid4())
        identifier = decision_id(call.caller, live, request_id)
        fingerprint = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        encoder = ProtoEncoder(request, call.caller)
        if request.request_id:
            repeated = self._decide.repeated(identifier, live, fingerprint, encoder)
            if repeated is not None:
                return repeated
        translated = _request(request, identifier, request_id, live, call.caller)
        return await self._decide.decide(translated, fingerprint, call.remaining, encoder)

    async def RecordOutcomes(
        self, request: pb.RecordOutcomesRequest, call: Call
    ) -> pb.RecordOutcomesResponse:
        """Record a batch of outcomes."""
        answers = await self._outcomes.record([_outcome(outcome) for outcome in request.outcomes])
        return pb.RecordOutcomesResponse(
            results=[
                pb.RecordOutcomeResult(error=to_item_error(answer))
                if isinstance(answer, Fault)
                else pb.RecordOutcomeResult(accepted=pb.OutcomeAccepted(duplicate=answer))
                for answer in answers
            ]
        )


def _request(
    request: pb.DecideRequest, identifier: str, request_id: str, live: bool, caller: str
) -> DecisionRequest:
    violations = []
    if request.mode not in pb.DecisionMode.values():
        violations.append(Violation("mode", f"{request.mode} is no mode"))
    if not request.customer.WhichOneof("key"):
        violations.append(Violation("customer", "must hold a customer_id or an identity"))
    decision_time = None
    if request.HasField("decision_time"):
        try:
            decision_time = request.decision_time.ToDatetime(UTC)
        except (ValueError, OverflowError):
            violations.append(Violation("decision_time", "must lie from 2000 to 2100"))
    if violations:
        raise invalid(*violations)
    identity = request.customer.identity
    is_identity = request.customer.WhichOneof("key") == "identity"
    context = request.context
    return DecisionRequest(
        decision_id=identifier,
        request_id=request_id,
        caller=caller,
        customer=CustomerKey(
            customer_id="" if is_identity else request.customer.customer_id,
            identity=(identity.kind, identity.value) if is_identity else None,
        ),
        context=Context(
            placement=context.placement,
            channel=context.channel,
            device=context.device,
            intent=context.intent,
            time_zone=context.time_zone,
            attributes={name: _plain(value) for name, value in context.attributes.items()},
        ),
        max_actions=request.max_actions,
        action_ids=tuple(request.action_ids),
        groups=tuple(request.groups),
        live=live,
        include_explanation=request.include_explanation,
        decision_time=decision_time,
        min_sequence=request.min_sequence,
    )


def _outcome(outcome: pb.Outcome) -> OutcomeReport | Fault:
    violations = []
    if outcome.kind not in pb.OutcomeKind.values() or not outcome.kind:
        violations.append(Violation("kind", "must be one of DELIVERED, VIEWED, ACCEPTED, REJECTED"))
    if not outcome.HasField("outcome_time"):
        violations.append(Violation("outcome_time", "is required"))
    try:
        outcome_time = outcome.outcome_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        violations.append(Violation("outcome_time", "must lie from 2000 to five minutes ahead"))
    if violations:
        return invalid(*violations)
    return OutcomeReport(
        outcome_id=outcome.outcome_id,
        decision_id=outcome.decision_id,
        rank=outcome.rank,
        kind=pb.OutcomeKind.Name(outcome.kind).removeprefix("OUTCOME_KIND_"),
        outcome_time=outcome_time,
    )


def _plain(value: Value) -> object:
    kind = value.WhichOneof("kind")
    return None if kind in (None, "null_value") else getattr(value, kind)
