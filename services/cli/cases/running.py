"""Makes the decision of one case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from tact.decision.v1 import decision_service_pb2 as pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.cli.cases import contacts, following, worlds
from services.cli.cases.drawing import digest, is_right, request_ids
from services.cli.cases.moments import value_at
from services.cli.cases.pipeline import Gateway
from services.cli.cases.references import DEFAULT
from services.cli.cases.scoring import UNSAID
from services.cli.cases.situations import Case
from services.engine.instants import microseconds
from services.engine.playbook.playbook import Playbook


class Refused(Exception):
    """The gateway refused the request; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a case; ``drawn`` where exploration never let the best win.

    ``told`` are the differences of what happened afterwards.
    """

    case: Case
    gateway: Gateway
    response: pb.DecideResponse
    drawn: bool = False
    told: Sequence[str] = ()


async def decide(case: Case, gateway: Gateway) -> Outcome:
    """Ask for the decision of a case whose world is on file.

    Raises:
        Refused: the request breaks the contract.
    """
    gateway.clock.micros = microseconds(case.now)
    gateway.put_down(case.world.down)
    await contacts.write(case, gateway)
    gateway.scoring.default = case.world.scores.get(DEFAULT, UNSAID)
    gateway.scoring.propensities = ()
    gateway.scoring.propensities = await _propensities(case, gateway)
    for request_id in request_ids(case):
        response = await _ask(case, gateway, request_id)
        if is_right(case, gateway.playbook, response):
            told: Sequence[str] = ()
            if case.then:
                asked = _request(case, gateway.playbook)
                told = await following.differences(case, gateway, asked, response)
            return Outcome(case=case, gateway=gateway, response=response, told=told)
    return Outcome(case=case, gateway=gateway, response=response, drawn=True)


async def _propensities(case: Case, gateway: Gateway) -> Sequence[float]:
    """Return the propensities of the actions that will be scored, in the order in which they will be.

    Scoring is sent numbers without names. Which actions they are about is known from the trace of the
    same decision with the same propensity for all: nothing before scoring reads propensities.
    """
    scores, default = case.world.scores, gateway.scoring.default
    if not scores.keys() - {DEFAULT} or "scoring" in case.world.down:
        return ()
    trial = await _ask(case, gateway, f"{digest(case)}-trial")
    scored = [trace.action_id for trace in trial.explanation.candidates if trace.HasField("propensity")]
    return [scores.get(action_id, default) for action_id in dict.fromkeys(scored)]


async def _ask(case: Case, gateway: Gateway, request_id: str) -> pb.DecideResponse:
    request = _request(case, gateway.playbook)
    request.request_id = request_id
    try:
        response: pb.DecideResponse = await gateway.stub.Decide(request)
    except grpc.aio.AioRpcError as error:
        raise Refused(f"{error.code().name}: {error.details()}") from None
    return response


def _request(case: Case, playbook: Playbook) -> pb.DecideRequest:
    asked = case.request
    request = pb.DecideRequest(
        customer=_customer(case, playbook),
        context=_context(case, playbook),
        max_actions=asked.max_actions,
        action_ids=asked.action_ids,
        groups=asked.groups,
        mode=pb.DECISION_MODE_DRY_RUN,
        include_explanation=True,
        decision_time=worlds.timestamp(case.now),
    )
    if (actor := asked.actor) is not None:
        request.actor.CopyFrom(pb.Actor(id=actor.id, device=actor.device, time_zone=actor.time_zone))
    return request


def _customer(case: Case, playbook: Playbook) -> profile_pb.CustomerKey:
    if isinstance(case.request.customer, str):
        key = worlds.customer_id(case, case.request.customer, playbook)
        return profile_pb.CustomerKey(customer_id=key)
    return profile_pb.CustomerKey(identity=worlds.identity(case, *case.request.customer))


def _context(case: Case, playbook: Playbook) -> pb.DecisionContext:
    context, location = case.request.context, case.request.context.location
    declared = playbook.head.context
    return pb.DecisionContext(
        placement=context.placement,
        channel=context.channel,
        device=context.device,
        intent=context.intent,
        time_zone=context.time_zone,
        conversation_id=context.conversation_id,
        location=pb.Location(
            country=location.country,
            region=location.region,
            latitude=location.latitude,
            longitude=location.longitude,
        ),
        attributes={
            name: worlds.json_value(value_at(declared[name], raw, case.now))
            for name, raw in context.attributes.items()
        },
    )
