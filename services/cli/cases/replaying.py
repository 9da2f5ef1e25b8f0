"""Holds each case's decision to its own record: made again from it, it must come out the same."""

from __future__ import annotations

from tact.decision.v1 import decision_service_pb2 as pb

from services.cli.cases.running import Outcome

_MOST_TOLD = 5


async def replay_differences(outcome: Outcome) -> list[str]:
    """Say how the replay of a decision differs from it; nothing where it is identical."""
    asked = pb.ReplayDecisionRequest(decision_id=outcome.response.decision_id)
    replay: pb.ReplayDecisionResponse = await outcome.gateway.stub.ReplayDecision(asked)
    if replay.verdict == pb.REPLAY_VERDICT_IDENTICAL:
        return []
    if replay.is_damaged:
        return ["its record is not as it was written"]
    return [
        *(f"it cannot be made again from its record: {text}" for text in replay.missing),
        *(
            f"made again from its record, {one.field} is {one.replayed or 'nothing'}, "
            f"not {one.recorded or 'nothing'}"
            for one in replay.differences[:_MOST_TOLD]
        ),
    ]
