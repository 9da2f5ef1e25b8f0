"""Translates between the contract and the gateway's handlers."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from tact.decision.v1 import decision_service_pb2 as pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.chassis.faults import Fault, batch_too_large, to_item_error
from services.chassis.rpc import Call
from services.engine.violations import Violation
from services.gateway.adapters.encoding import ProtoEncoder, plain
from services.gateway.domain.request import Context, CustomerKey, DecisionRequest, decision_id
from services.gateway.handlers import DecideHandler
from services.gateway.outcomes import OutcomeHandler, Reported

MOST_OUTCOMES: Final = 10_000
_KINDS: Final = {kind: name.removeprefix("OUTCOME_KIND_") for name, kind in pb.OutcomeKind.items() if kind}


class DecisionServicer:
    """Serves ``tact.decision.v1.DecisionService``."""

    def __init__(self, decide: DecideHandler, outcomes: OutcomeHandler) -> None:
        self._decide = decide
        self._outcomes = outcomes

    async def Decide(self, request: pb.DecideRequest, call: Call) -> Any:
        """Answer one decision."""
        fingerprint = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        encoder = ProtoEncoder(request, call.caller)
        return await self._decide.decide(_request(request, call.caller), fingerprint, call.remaining, encoder)

    async def RecordOutcomes(
        self, request: pb.RecordOutcomesRequest, call: Call
    ) -> pb.RecordOutcomesResponse:
        """Record a batch of outcomes."""
        if len(request.outcomes) > MOST_OUTCOMES:
            raise batch_too_large("outcomes", len(request.outcomes), MOST_OUTCOMES)
        answers = await self._outcomes.record(map(_outcome, request.outcomes))
        return pb.RecordOutcomesResponse(
            results=[
                pb.RecordOutcomeResult(error=to_item_error(answer))
                if isinstance(answer, Fault)
                else pb.RecordOutcomeResult(accepted=pb.OutcomeAccepted(duplicate=answer))
                for answer in answers
            ]
        )


def _request(request: pb.DecideRequest, caller: str) -> DecisionRequest:
    violations = []
    if request.mode not in pb.DecisionMode.values():
        violations.append(Violation("mode", f"{request.mode} is no mode"))
    decision_time = None
    if request.HasField("decision_time") and (decision_time := _instant(request.decision_time)) is None:
        violations.append(Violation("decision_time", "must lie from 2000 to 2100"))
    live = request.mode != pb.DECISION_MODE_DRY_RUN
    request_id = request.request_id or str(uuid.uuid4())
    context = request.context
    return DecisionRequest(
        decision_id=decision_id(caller, live, request_id),
        request_id=request_id,
        is_repeatable=bool(request.request_id),
        caller=caller,
        customer=_customer(request.customer),
        context=Context(
            placement=context.placement,
            channel=context.channel,
            device=context.device,
            intent=context.intent,
            time_zone=context.time_zone,
            attributes={name: plain(context.attributes[name]) for name in sorted(context.attributes)},
        ),
        max_actions=request.max_actions,
        action_ids=tuple(request.action_ids),
        groups=tuple(request.groups),
        live=live,
        include_explanation=request.include_explanation,
        decision_time=decision_time,
        min_sequence=request.min_sequence,
        violations=tuple(violations),
    )


def _customer(customer: profile_pb.CustomerKey) -> CustomerKey | None:
    match customer.WhichOneof("key"):
        case "customer_id":
            return CustomerKey(customer_id=customer.customer_id)
        case "identity":
            return CustomerKey(identity=(customer.identity.kind, customer.identity.value))
        case _:
            return None


def _outcome(outcome: pb.Outcome) -> Reported:
    return Reported(
        outcome_id=outcome.outcome_id,
        decision_id=outcome.decision_id,
        rank=outcome.rank,
        kind=_KINDS.get(outcome.kind),
        outcome_time=_instant(outcome.outcome_time) if outcome.HasField("outcome_time") else None,
    )


def _instant(timestamp: Timestamp) -> datetime | None:
    """Return None for a time that no calendar holds."""
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        return None
