"""Requests for a decision, from protos; what cannot be translated becomes a violation."""

from __future__ import annotations

import uuid

from tact.decision.v1 import decision_service_pb2 as pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.engine.violations import Violation
from services.gateway.adapters.messages import moment, plain
from services.gateway.domain.request import Actor, Context, CustomerKey, DecisionRequest, decision_id


def decision_request(request: pb.DecideRequest, caller: str, request_id: str = "") -> DecisionRequest:
    """Translate a request; ``request_id`` is the one that the gateway made where the caller gave none."""
    violations = []
    if request.mode not in pb.DecisionMode.values():
        violations.append(Violation("mode", f"{request.mode} is no mode"))
    decision_time = None
    if request.HasField("decision_time") and (decision_time := moment(request.decision_time)) is None:
        violations.append(Violation("decision_time", "must lie from 2000 to 2100"))
    live = request.mode != pb.DECISION_MODE_DRY_RUN
    request_id = request.request_id or request_id or str(uuid.uuid4())
    return DecisionRequest(
        decision_id=decision_id(caller, live, request_id),
        request_id=request_id,
        is_repeatable=bool(request.request_id),
        caller=caller,
        customer=_customer(request.customer),
        context=_context(request.context),
        max_actions=request.max_actions,
        action_ids=tuple(request.action_ids),
        groups=tuple(request.groups),
        live=live,
        include_explanation=request.include_explanation,
        decision_time=decision_time,
        min_sequence=request.min_sequence,
        actor=_actor(request.actor) if request.HasField("actor") else None,
        violations=tuple(violations),
    )


def _context(context: pb.DecisionContext) -> Context:
    location = context.location
    return Context(
        placement=context.placement,
        channel=context.channel,
        device=context.device,
        intent=context.intent,
        time_zone=context.time_zone,
        conversation_id=context.conversation_id,
        country=location.country,
        region=location.region,
        latitude=location.latitude if location.HasField("latitude") else None,
        longitude=location.longitude if location.HasField("longitude") else None,
        attributes={name: plain(context.attributes[name]) for name in sorted(context.attributes)},
    )


def _actor(actor: pb.Actor) -> Actor:
    return Actor(id=actor.id, device=actor.device, time_zone=actor.time_zone)


def _customer(customer: profile_pb.CustomerKey) -> CustomerKey | None:
    match customer.WhichOneof("key"):
        case "customer_id":
            return CustomerKey(customer_id=customer.customer_id)
        case "identity":
            return CustomerKey(identity=(customer.identity.kind, customer.identity.value))
        case _:
            return None
