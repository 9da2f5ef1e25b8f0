"""One suite for both kinds of stub: over a socket and in process."""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry
from tact.errors.v1 import errors_pb2
from tact.scoring.v1 import scoring_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.faults import (
    STATUS_DETAILS_KEY,
    Fault,
    FaultKind,
    Violation,
    batch_too_large,
    error_info,
    invalid,
    to_status,
)
from services.chassis.inprocess import InProcessStub
from services.chassis.rpc import Service
from services.chassis.server import Listener, serving

SCORING = pb.DESCRIPTOR.services_by_name["ScoringService"]
ADDRESS = "anna@example.org"
PATIENCE_SECONDS = 20.0


class Scoring:
    """Does what a test tells it; without instructions it names what it was asked.

    GetModel answers with a message of another RPC.
    """

    def __init__(self, behave=None):
        self.behave = behave
        self.calls = []
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def BatchScore(self, request, call):
        self.calls.append(call)
        self.entered.set()
        if self.behave is not None:
            try:
                await self.behave(call)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return pb.BatchScoreResponse(model_version=request.schema_fingerprint)

    async def GetModel(self, request, call):
        return pb.BatchScoreResponse()

    async def ExplainScores(self, request, call):
        raise NotImplementedError


@contextlib.asynccontextmanager
async def wire(service, timeout):
    async with (
        serving(service, Listener(port=0, metrics_port=0)) as running,
        channel(f"127.0.0.1:{running.port}", SCORING) as opened,
    ):
        yield GrpcStub(opened, SCORING, timeout)


@contextlib.asynccontextmanager
async def in_process(service, timeout):
    yield InProcessStub(service, timeout)


BOTH = [wire, in_process]


@pytest.fixture(params=BOTH, ids=lambda connect: connect.__name__)
def connect(request):
    return request.param


def converse(connect, exercise, behave=None, timeout=PATIENCE_SECONDS):
    """Run ``exercise(stub, servicer)``; return its result and the registry once all is quiet."""
    registry = CollectorRegistry()

    async def main():
        servicer = Scoring(behave)
        service = Service(name="scoring", descriptor=SCORING, servicer=servicer, registry=registry)
        async with asyncio.timeout(PATIENCE_SECONDS), connect(service, timeout) as stub:
            return await exercise(stub, servicer)

    return asyncio.run(main()), registry


async def error_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def trailers(error):
    return dict(error.trailing_metadata() or ())


def count(registry, code):
    labels = {"grpc_service": SCORING.full_name, "grpc_method": "BatchScore"}
    handled = registry.get_sample_value("grpc_server_handled_total", {**labels, "grpc_code": code})
    timed = registry.get_sample_value("grpc_server_handling_seconds_count", labels)
    assert registry.get_sample_value("grpc_server_started_total", labels) == timed
    assert registry.get_sample_value("grpc_server_in_flight", labels) == 0
    return handled, timed


def test_concurrent_calls_get_their_own_answers(connect):
    async def exercise(stub, servicer):
        requests = [pb.BatchScoreRequest(schema_fingerprint=str(index)) for index in range(50)]
        answers = await asyncio.gather(*(stub.BatchScore(request) for request in requests))
        return [answer.model_version for answer in answers]

    answers, registry = converse(connect, exercise)
    assert answers == [str(index) for index in range(50)]
    assert count(registry, "OK") == (50, 50)


def test_the_servicer_knows_caller_metadata_and_deadline(connect):
    async def exercise(stub, servicer):
        await stub.BatchScore(pb.BatchScoreRequest(), metadata=(("traceparent", "00-1"),))
        await stub.BatchScore(pb.BatchScoreRequest(), timeout=60.0)
        return servicer.calls

    (first, second), _ = converse(connect, exercise, timeout=5.0)
    assert first.caller == "anonymous"
    assert first.metadata["traceparent"] == "00-1"
    # The wire rounds a deadline up.
    assert 0 < first.remaining() < 10 < second.remaining() < 70


def test_the_request_is_not_changed(connect):
    request = pb.BatchScoreRequest(items=[pb.ScoreItem(candidates=1)], schema_fingerprint="a")
    before = request.SerializeToString(deterministic=True)
    converse(connect, lambda stub, servicer: stub.BatchScore(request))
    assert request.SerializeToString(deterministic=True) == before


FAULTS = [Fault(kind, errors_pb2.ERROR_REASON_OVERLOADED, f"{kind.name}: größer") for kind in FaultKind] + [
    batch_too_large("items", 1001, 1000),
    invalid(Violation("items[0].candidates", "is negative"), Violation("schema_fingerprint", "is empty")),
    invalid(*(Violation(f"items[{index}]", "x" * 500) for index in range(10_000))),
    Fault(FaultKind.PRECONDITION, errors_pb2.ERROR_REASON_SCHEMA_MISMATCH, "é" * 5000, {"held": "77ab"}),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.message[:20])
def test_a_fault_arrives_whole(connect, fault):
    async def fail(call):
        raise fault

    error, registry = converse(
        connect, lambda stub, servicer: error_of(stub.BatchScore(pb.BatchScoreRequest())), fail
    )
    sent = to_status(fault)
    received = status_pb2.Status.FromString(trailers(error)[STATUS_DETAILS_KEY])
    assert (error.code(), error.details()) == (fault.code, sent.message)
    assert received == sent
    assert error_info(error).reason == fault.reason_name
    assert count(registry, fault.code.name) == (1, 1)


def test_both_kinds_tell_violations_alike():
    async def fail(call):
        raise FAULTS[-3]

    def violations(connect):
        error, _ = converse(
            connect, lambda stub, servicer: error_of(stub.BatchScore(pb.BatchScoreRequest())), fail
        )
        bad_request = error_details_pb2.BadRequest()
        status_pb2.Status.FromString(trailers(error)[STATUS_DETAILS_KEY]).details[1].Unpack(bad_request)
        return [(each.field, each.description) for each in bad_request.field_violations]

    assert (
        violations(wire)
        == violations(in_process)
        == [("items[0].candidates", "is negative"), ("schema_fingerprint", "is empty")]
    )


@pytest.mark.parametrize(
    "defect",
    [
        KeyError(ADDRESS),
        grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, details=ADDRESS),
        asyncio.CancelledError(ADDRESS),
    ],
    ids=lambda defect: type(defect).__name__,
)
def test_a_defect_is_internal_and_leaks_nothing(connect, defect, caplog):
    async def fail(call):
        raise defect

    error, registry = converse(
        connect, lambda stub, servicer: error_of(stub.BatchScore(pb.BatchScoreRequest())), fail
    )
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert error_info(error).reason == "INTERNAL"
    assert count(registry, "INTERNAL") == (1, 1)
    assert ADDRESS not in repr(error) + repr(error.trailing_metadata()) + caplog.text
    (record,) = [record for record in caplog.records if record.message == "unhandled exception"]
    assert record.fields["exception"].endswith(type(defect).__name__)
    assert record.fields["frames"][-1].endswith(" fail")


def test_an_answer_of_a_wrong_type_is_a_defect(connect):
    error, _ = converse(connect, lambda stub, servicer: error_of(stub.GetModel(pb.GetModelRequest())))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")


async def forever(call):
    await asyncio.Event().wait()


def test_the_deadline_cancels_the_servicer(connect):
    async def exercise(stub, servicer):
        error = await error_of(stub.BatchScore(pb.BatchScoreRequest(), timeout=0.05))
        await servicer.cancelled.wait()
        return error

    error, registry = converse(connect, exercise, forever)
    assert (error.code(), error.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    assert trailers(error) == {}
    assert count(registry, "DEADLINE_EXCEEDED") == (1, 1)


def test_the_default_deadline_applies_where_none_is_given(connect):
    error, _ = converse(
        connect,
        lambda stub, servicer: error_of(stub.BatchScore(pb.BatchScoreRequest())),
        forever,
        timeout=0.05,
    )
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_a_deadline_that_has_passed_reaches_no_servicer(connect, timeout):
    async def exercise(stub, servicer):
        error = await error_of(stub.BatchScore(pb.BatchScoreRequest(), timeout=timeout))
        return error, servicer.calls

    (error, calls), registry = converse(connect, exercise)
    assert (error.code(), error.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    assert calls == []
    assert count(registry, "OK") == (0, 0)


@pytest.mark.parametrize("stubborn", ["answers", "faults"])
def test_a_servicer_that_ignores_the_deadline_is_not_heard(connect, stubborn):
    async def ignore(call):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if stubborn == "faults":
            raise invalid(Violation("items", "is empty"))

    error, _ = converse(
        connect,
        lambda stub, servicer: error_of(stub.BatchScore(pb.BatchScoreRequest(), timeout=0.05)),
        ignore,
    )
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_cancelling_the_caller_cancels_the_servicer(connect):
    async def exercise(stub, servicer):
        caller = asyncio.ensure_future(stub.BatchScore(pb.BatchScoreRequest()))
        await servicer.entered.wait()
        caller.cancel()
        await servicer.cancelled.wait()
        await asyncio.wait({caller})
        return caller.cancelled()

    cancelled, registry = converse(connect, exercise, forever)
    assert cancelled
    assert count(registry, "CANCELLED") == (1, 1)


@pytest.mark.parametrize("stubborn", ["answers", "faults"])
def test_a_caller_that_left_stays_cancelled(connect, stubborn):
    async def ignore(call):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if stubborn == "faults":
            raise invalid(Violation("items", "is empty"))

    async def exercise(stub, servicer):
        caller = asyncio.ensure_future(stub.BatchScore(pb.BatchScoreRequest()))
        await servicer.entered.wait()
        caller.cancel()
        await asyncio.wait({caller})
        return caller.cancelled()

    cancelled, _ = converse(connect, exercise, ignore)
    assert cancelled


def test_every_outcome_is_counted_once(connect):
    async def misbehave(call):
        if call.metadata["do"] == "fault":
            raise invalid(Violation("items", "is empty"))
        if call.metadata["do"] == "defect":
            raise KeyError
        if call.metadata["do"] == "wait":
            await asyncio.Event().wait()

    async def exercise(stub, servicer):
        return await asyncio.gather(
            *(
                stub.BatchScore(
                    pb.BatchScoreRequest(), metadata=(("do", do),), timeout=0.2 if do == "wait" else None
                )
                for do in ("answer", "fault", "defect", "wait") * 5
            ),
            return_exceptions=True,
        )

    _, registry = converse(connect, exercise, misbehave)
    for code in ("OK", "INVALID_ARGUMENT", "INTERNAL", "DEADLINE_EXCEEDED"):
        assert count(registry, code) == (5, 20)


def test_an_unknown_rpc_is_an_attribute_error(connect):
    async def exercise(stub, servicer):
        return stub.BatchSkore

    with pytest.raises(AttributeError, match="BatchSkore"):
        converse(connect, exercise)
