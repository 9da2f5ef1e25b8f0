"""What happens after a decision: deliveries are claimed, outcomes reported."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import Final

import grpc
from tact.decision.v1 import decision_service_pb2 as pb

from services.chassis.faults import error_info, reason_name
from services.chassis.rpc import ANONYMOUS
from services.cli.cases import schema, worlds
from services.cli.cases.drawing import TOLERANCE, digest
from services.cli.cases.moments import moment_of
from services.cli.cases.pipeline import Gateway
from services.cli.cases.situations import Case
from services.engine.arbitration.draw import draw_of
from services.engine.instants import microseconds
from services.gateway.domain.request import decision_id

_MOST_DRAWN: Final = 2
"""Draws that are alike in more ranks would take too long to find."""


async def differences(
    case: Case, gateway: Gateway, request: pb.DecideRequest, dry: pb.DecideResponse
) -> list[str]:
    """Decide again, live, and let happen what the case says; return lines that say what differs."""
    live = pb.DecideRequest()
    live.CopyFrom(request)
    live.mode, live.request_id = pb.DECISION_MODE_LIVE, next(_drawn_alike(case, dry.decision_id))
    answer: pb.DecideResponse = await gateway.stub.Decide(live)
    expected, got = (
        [f"{one.action_id}/{one.treatment_id}" for one in each.actions] for each in (dry, answer)
    )
    if expected != got:
        return [
            f"then: the live answer is {', '.join(got) or 'nothing'}, not {', '.join(expected) or 'nothing'}"
        ]
    found: list[str] = []
    for number, step in enumerate(case.then, start=1):
        told = await _step(case, gateway, f"{answer.decision_id}/{number}", answer.decision_id, step)
        found += [f"then, step {number}: {line}" for line in told]
    return found


def _drawn_alike(case: Case, dry: str) -> Iterator[str]:
    """Yield request ids under which a live decision draws what the dry one drew."""
    ranks = range(1, min(case.request.max_actions, _MOST_DRAWN) + 1)
    wanted = [draw_of(dry)(rank) for rank in ranks]
    for request_id in (f"{digest(case)}-live-{attempt}" for attempt in count()):
        draw = draw_of(decision_id(ANONYMOUS, True, request_id))
        if all(abs(draw(rank) - point) < TOLERANCE for rank, point in zip(ranks, wanted, strict=True)):
            yield request_id


async def _step(case: Case, gateway: Gateway, own_id: str, decided: str, step: schema.Step) -> list[str]:
    """Let one thing happen; ``own_id`` is that of an outcome."""
    happens = step.claim or step.outcome
    if happens is None:
        raise ValueError("a step is a claim or an outcome")
    at = moment_of(happens.at, case.now)
    gateway.clock.micros = max(microseconds(at), gateway.clock.micros)
    is_repeat = False
    try:
        if isinstance(happens, schema.Claim):
            asked = pb.ClaimDeliveryRequest(decision_id=decided, rank=happens.rank, claim_id=happens.by)
            verdict: pb.ClaimDeliveryResponse = await gateway.stub.ClaimDelivery(asked)
            got, text = verdict.reason.code or "GO", verdict.reason.text
            is_repeat = verdict.is_repeat
        else:
            outcome = _outcome(happens, own_id, decided, at)
            answer = await gateway.stub.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=[outcome]))
            error = answer.results[0].error
            got, text = reason_name(error.reason) if error.reason else "accepted", error.message
    except grpc.aio.AioRpcError as failure:
        info = error_info(failure)
        got, text = failure.code().name if info is None else info.reason, failure.details() or ""
    found = [] if got == happens.expect else [f"expected {happens.expect}, got {got} ({text})"]
    if isinstance(happens, schema.Claim) and is_repeat != happens.is_repeat:
        found.append(f"is_repeat: expected {happens.is_repeat}, got {is_repeat}")
    return found


def _outcome(report: schema.Report, own_id: str, decided: str, at: datetime) -> pb.Outcome:
    return pb.Outcome(
        outcome_id=own_id,
        decision_id=decided,
        rank=report.rank,
        kind=pb.OutcomeKind.Value(f"OUTCOME_KIND_{report.kind.upper()}"),
        outcome_time=worlds.timestamp(at),
        measures=report.measures,
        instead_action_id=report.instead,
        actor_id=report.by,
    )
