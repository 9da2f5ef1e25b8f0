"""The decision of a case must come out of its record again; where it does not, the case says how."""

import asyncio
from types import SimpleNamespace

from tact.decision.v1 import decision_service_pb2 as pb

from services.cli.cases.replaying import replay_differences


def told(**answer):
    """Return what is said of a decision whose replay is answered so."""
    asked = []

    async def replay(request):
        asked.append(request)
        return pb.ReplayDecisionResponse(**answer)

    outcome = SimpleNamespace(
        response=pb.DecideResponse(decision_id="d-1"),
        gateway=SimpleNamespace(stub=SimpleNamespace(ReplayDecision=replay)),
    )
    found = asyncio.run(replay_differences(outcome))
    assert asked == [pb.ReplayDecisionRequest(decision_id="d-1")]
    return found


def test_of_an_identical_replay_nothing_is_said():
    assert told(verdict="REPLAY_VERDICT_IDENTICAL") == []


def test_what_comes_out_otherwise_is_said_field_by_field():
    differences = [pb.ReplayDifference(field="actions[0].priority", recorded="1.5", replayed="2.5")]
    differences += [pb.ReplayDifference(field="control_arm", recorded="hold_out")] * 9
    assert told(verdict="REPLAY_VERDICT_DIFFERENT", differences=differences) == [
        "made again from its record, actions[0].priority is 2.5, not 1.5",
        *["made again from its record, control_arm is nothing, not hold_out"] * 4,
    ]


def test_what_is_missing_is_said():
    assert told(verdict="REPLAY_VERDICT_IMPOSSIBLE", missing=["playbook version 1f is not held"]) == [
        "it cannot be made again from its record: playbook version 1f is not held"
    ]


def test_a_damaged_record_is_said_to_be_damaged():
    assert told(verdict="REPLAY_VERDICT_DIFFERENT", is_damaged=True) == [
        "its record is not as it was written"
    ]
