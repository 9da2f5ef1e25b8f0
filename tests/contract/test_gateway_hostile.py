"""A hostile or hasty caller gets a clear answer, and leaves the gateway as it was."""

import asyncio
import contextlib

import grpc
import pytest
import remote
from deciding import playbook, request
from google.rpc import error_details_pb2, status_pb2
from tact.decision.v1 import decision_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.faults import STATUS_DETAILS_KEY, error_info
from services.chassis.inprocess import InProcessStub
from services.chassis.listener import DEFAULT_MESSAGE_BYTES
from services.chassis.server import serving
from services.gateway.app import open_service
from services.gateway.settings import GatewaySettings

DECIDE = pb.DESCRIPTOR.services_by_name["DecisionService"]
PATIENCE_SECONDS = 30.0


@contextlib.asynccontextmanager
async def wire(service, listener):
    async with (
        serving(service, listener) as running,
        channel(f"127.0.0.1:{running.port}", DECIDE) as opened,
    ):
        yield GrpcStub(opened, DECIDE, PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def in_process(service, listener):
    await service.warm_up()
    yield InProcessStub(service, PATIENCE_SECONDS)


@pytest.fixture(params=[wire, in_process], ids=lambda connect: connect.__name__)
def connect(request):
    return request.param


class World:
    """A gateway, the services that it asks, and its caller."""

    def __init__(self, stub, remotes):
        self.stub = stub
        self.remotes = remotes


def converse(connect, folder, exercise):
    """Run ``exercise(world)``; nothing of it may be left, neither a call nor a defect.

    Returns how many decisions ended with each code.
    """

    async def main():
        settings = GatewaySettings(TACT_HOME=folder, port=0, metrics_port=0, drain_seconds=0)
        remotes = remote.stubs()
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            open_service(settings, playbook(), remotes) as service,
            connect(service, settings.listener) as stub,
        ):
            await exercise(World(stub, remotes))
            assert (await stub.Decide(request())).actions
        return service.registry

    registry = asyncio.run(main())
    labels = {"grpc_service": DECIDE.full_name, "grpc_method": "Decide"}
    assert registry.get_sample_value("grpc_server_in_flight", labels) == 0
    handled = {
        code.name: registry.get_sample_value("grpc_server_handled_total", {**labels, "grpc_code": code.name})
        for code in grpc.StatusCode
    }
    assert not handled["INTERNAL"]
    return handled


async def error_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def violations(error):
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())[STATUS_DETAILS_KEY])
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    return {violation.field: violation.description for violation in bad.field_violations}


def test_a_wrong_request_lists_its_violations(connect, tmp_path):
    async def exercise(world):
        error = await error_of(world.stub.Decide(request(max_actions=101, groups=["offer"], mode=9)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(error).reason == "REQUEST_INVALID"
        assert error_info(error).domain == "tact"
        assert violations(error) == {
            "mode": "9 is no mode",
            "max_actions": "must be between 0 and 100, not 101",
            "groups[0]": 'not in the playbook; did you mean "offers"?',
        }

    converse(connect, tmp_path, exercise)


def test_thousands_of_violations_arrive_as_one_status(connect, tmp_path):
    async def exercise(world):
        attributes = {f"attribute {number} {'x' * 1_000}": "y" * 1_000 for number in range(2_000)}
        asked = request(action_ids=[f"action {number}" for number in range(1_000)])
        asked.MergeFrom(request(context={"attributes": attributes}))
        error = await error_of(world.stub.Decide(asked))
        found = violations(error)
        assert found["action_ids[0]"] == "not in the playbook"
        assert found[""].endswith("more violations")

    converse(connect, tmp_path, exercise)


def test_a_huge_request_is_answered_or_refused_but_never_half(connect, tmp_path):
    async def exercise(world):
        huge = request(action_ids=["wine-coupon" * 1_000] * 1_000)
        assert huge.ByteSize() < DEFAULT_MESSAGE_BYTES
        assert (await error_of(world.stub.Decide(huge))).code() is grpc.StatusCode.INVALID_ARGUMENT

    converse(connect, tmp_path, exercise)


def test_a_request_beyond_all_limits_never_reaches_the_service(tmp_path):
    async def exercise(world):
        asked = request(request_id="r" * (DEFAULT_MESSAGE_BYTES + 1))
        assert (await error_of(world.stub.Decide(asked))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    converse(wire, tmp_path, exercise)


def test_a_deadline_of_a_millisecond_harms_nobody(connect, tmp_path):
    async def exercise(world):
        hurried = [world.stub.Decide(request(), timeout=0.001) for _ in range(50)]
        for answer in await asyncio.gather(*hurried, return_exceptions=True):
            if isinstance(answer, grpc.aio.AioRpcError):
                assert answer.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            else:
                assert answer.decision_id

    converse(connect, tmp_path, exercise)


def test_dependencies_that_hang_leave_time_for_an_answer(connect, tmp_path):
    async def hang(asked):
        await asyncio.Event().wait()

    async def exercise(world):
        for service in (world.remotes.profile, world.remotes.features, world.remotes.scoring):
            service.meanwhile = hang
        answer = await world.stub.Decide(request(), timeout=1.0)
        causes = {(lost.source, lost.cause) for lost in answer.degradations}
        timeout = pb.DEGRADATION_CAUSE_TIMEOUT
        assert causes == {
            (pb.DEGRADATION_SOURCE_PROFILE, timeout),
            (pb.DEGRADATION_SOURCE_FEATURES, timeout),
        }
        assert [action.action_id for action in answer.actions] == ["recall", "receipt"]
        for service in (world.remotes.profile, world.remotes.features, world.remotes.scoring):
            service.meanwhile = None

    converse(connect, tmp_path, exercise)


@pytest.mark.parametrize("rpc", ["GetModel", "ExplainScores"])
def test_a_model_that_hangs_leaves_time_for_a_story(connect, tmp_path, rpc):
    async def hang(asked):
        if type(asked).__name__ == f"{rpc}Request":
            await asyncio.sleep(PATIENCE_SECONDS)

    async def exercise(world):
        answer = await world.stub.Decide(request())
        asked = pb.ExplainDecisionRequest(decision_id=answer.decision_id, include_contributions=True)
        assert (await world.stub.ExplainDecision(asked)).contributions
        world.remotes.scoring.meanwhile = hang
        told = await world.stub.ExplainDecision(asked, timeout=1.0)
        assert told.contributions_missing == "Scoring did not help: no answer in time."
        assert told.response.explanation.candidates

    converse(connect, tmp_path, exercise)


def test_a_caller_that_hangs_up_ends_the_decision(connect, tmp_path):
    entered, left = asyncio.Event(), asyncio.Event()

    async def hang(asked):
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async def exercise(world):
        world.remotes.profile.meanwhile = hang
        calling = asyncio.ensure_future(world.stub.Decide(request(request_id="a-1")))
        await entered.wait()
        calling.cancel()
        await left.wait()
        with pytest.raises(asyncio.CancelledError):
            await calling
        world.remotes.profile.meanwhile = None
        answer = await world.stub.Decide(request(request_id="a-1", max_actions=1))
        assert len(answer.actions) == 1

    assert converse(connect, tmp_path, exercise)["CANCELLED"] == 1


def test_a_crowd_under_one_request_id_gets_one_decision(connect, tmp_path):
    async def exercise(world):
        answers = await asyncio.gather(*(world.stub.Decide(request(request_id="a-1")) for _ in range(40)))
        assert {answer.SerializeToString(deterministic=True) for answer in answers} == {
            answers[0].SerializeToString(deterministic=True)
        }

    converse(connect, tmp_path, exercise)


def test_ten_thousand_outcomes_are_answered_and_one_more_is_too_many(connect, tmp_path):
    async def exercise(world):
        batch = pb.RecordOutcomesRequest(outcomes=[pb.Outcome(outcome_id="o", rank=-1)] * 10_000)
        assert len((await world.stub.RecordOutcomes(batch)).results) == 10_000
        batch.outcomes.add()
        error = await error_of(world.stub.RecordOutcomes(batch))
        assert error_info(error).reason == "BATCH_TOO_LARGE"
        assert violations(error) == {"outcomes": "10001 items, at most 10000"}

    converse(connect, tmp_path, exercise)
