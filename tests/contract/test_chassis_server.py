import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry
from tact.errors.v1 import errors_pb2
from tact.scoring.v1 import scoring_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.faults import Fault, FaultKind, error_info
from services.chassis.rpc import Service
from services.chassis.server import Listener, ListenError, run_until_signalled, serving

SCORING = pb.DESCRIPTOR.services_by_name["ScoringService"]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
PATIENCE_SECONDS = 20.0
ROOT = Path(__file__).parents[2]


class Scoring:
    """Waits for ``release`` in BatchScore, and answers GetModel with what ``answers`` yields."""

    def __init__(self, answers=()):
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.answers = iter(answers)
        self.asked = 0
        self.cleaned_up = False

    async def BatchScore(self, request, call):
        self.entered.set()
        try:
            await self.release.wait()
        finally:
            # Longer than the rest of the way out takes.
            await asyncio.sleep(0.3)
            self.cleaned_up = True
        return pb.BatchScoreResponse(model_version="1")

    async def GetModel(self, request, call):
        self.asked += 1
        if fault := next(self.answers, None):
            raise fault
        return pb.GetModelResponse(model_version="1")

    async def ExplainScores(self, request, call):
        raise NotImplementedError


def scoring(servicer=None, **options):
    return Service(
        name="scoring",
        descriptor=SCORING,
        servicer=servicer or Scoring(),
        registry=CollectorRegistry(),
        **options,
    )


def listener(**options):
    return Listener(**{"port": 0, "metrics_port": 0, **options})


def run(main):
    async def bounded():
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await main()

    return asyncio.run(bounded())


@contextlib.asynccontextmanager
async def stub_of(running, **options):
    async with channel(f"127.0.0.1:{running.port}", SCORING, **options) as opened:
        yield GrpcStub(opened, SCORING, PATIENCE_SECONDS)


def health_of(opened):
    return health_pb2_grpc.HealthStub(opened)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_listens_unready_warms_up_then_serves():
    async def main():
        warm, port = asyncio.Event(), free_port()

        async def serve():
            async with serving(scoring(warm_up=warm.wait), listener(port=port)):
                await asyncio.Event().wait()

        server = asyncio.create_task(serve())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
            watch = health_of(opened).Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            statuses = [(await watch.read()).status]
            warm.set()
            statuses.append((await watch.read()).status)
            for name in ("", SCORING.full_name):
                answer = await health_of(opened).Check(health_pb2.HealthCheckRequest(service=name))
                statuses.append(answer.status)
            server.cancel()
            statuses.append((await watch.read()).status)
            statuses.append(await watch.read())
            await asyncio.wait({server})
        return statuses

    assert run(main) == [NOT_SERVING, SERVING, SERVING, SERVING, NOT_SERVING, grpc.aio.EOF]


def test_health_follows_readiness():
    async def main():
        ready = [True]

        def is_ready():
            if ready[0] is None:
                raise ConnectionError
            return ready[0]

        async with (
            serving(scoring(ready=is_ready), listener()) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as opened,
        ):
            watch = health_of(opened).Watch(health_pb2.HealthCheckRequest(service=SCORING.full_name))
            statuses = [(await watch.read()).status]
            for ready[0] in (False, True, None):
                statuses.append((await watch.read()).status)
            return statuses

    assert run(main) == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]


def test_the_health_of_another_service_is_unknown():
    async def main():
        request = health_pb2.HealthCheckRequest(service="tact.x.v1.XService")
        async with (
            serving(scoring(), listener()) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as opened,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health_of(opened).Check(request)
            return refused.value.code(), (await health_of(opened).Watch(request).read()).status

    assert run(main) == (grpc.StatusCode.NOT_FOUND, SERVICE_UNKNOWN)


def test_a_failed_warm_up_propagates_and_frees_the_ports():
    async def fail():
        raise LookupError("no model")

    async def main():
        port, metrics_port = free_port(), free_port()
        with pytest.raises(LookupError, match="no model"):
            async with serving(scoring(warm_up=fail), listener(port=port, metrics_port=metrics_port)):
                pytest.fail("it serves")
        async with serving(scoring(), listener(port=port, metrics_port=metrics_port)) as running:
            return (running.port, running.metrics_port) == (port, metrics_port)

    assert run(main)


@pytest.mark.parametrize("taken", ["port", "metrics_port"])
def test_a_port_that_is_taken_is_named(taken):
    async def main():
        async with serving(scoring(), listener()) as running:
            port = getattr(running, taken)
            with pytest.raises(ListenError, match=f"scoring cannot listen on port {port} of 127.0.0.1"):
                async with serving(scoring(), listener(**{taken: port})):
                    pytest.fail("it shares the port")

    run(main)


@pytest.mark.parametrize("host", [str(ipaddress.IPv4Address(0)), "::", "10.0.0.1", "example.org", ""])
def test_any_other_host_than_loopback_is_refused(host):
    async def main():
        with pytest.raises(ValueError, match="needs TLS, which this version does not offer"):
            async with serving(scoring(), listener(host=host)):
                pytest.fail("it serves")

    run(main)


@pytest.mark.parametrize("host", ["::1", "localhost", "127.0.0.2"])
def test_every_loopback_host_is_served(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            pytest.skip(f"{host} is not there: {error.strerror}")

    async def main():
        spelt = f"[{host}]" if ":" in host else host
        async with (
            serving(scoring(), listener(host=host)) as running,
            channel(f"{spelt}:{running.port}", SCORING) as opened,
        ):
            answer = await GrpcStub(opened, SCORING, PATIENCE_SECONDS).GetModel(pb.GetModelRequest())
            page = await asyncio.to_thread(fetch, f"http://{spelt}:{running.metrics_port}/metrics")
            return answer.model_version, "grpc_server_handling_seconds_bucket" in page

    assert run(main) == ("1", True)


def fetch(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PATIENCE_SECONDS) as page:
        return page.read().decode()


def test_the_metrics_page_counts_calls_and_names_no_customer():
    async def main():
        async with serving(scoring(), listener()) as running, stub_of(running) as stub:
            for _ in range(3):
                await stub.GetModel(pb.GetModelRequest())
            return await asyncio.to_thread(fetch, f"http://127.0.0.1:{running.metrics_port}/metrics")

    labels = 'grpc_method="GetModel",grpc_service="tact.scoring.v1.ScoringService"'
    page = run(main)
    assert f"grpc_server_handling_seconds_count{{{labels}}} 3.0" in page
    assert f'grpc_server_handled_total{{grpc_code="OK",{labels}}} 3.0' in page


def test_the_service_describes_itself():
    async def main():
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async with (
            serving(scoring(), listener()) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as opened,
        ):
            stub = reflection_pb2_grpc.ServerReflectionStub(opened)
            (answer,) = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
            return {service.name for service in answer.list_services_response.service}

    assert run(main) >= {SCORING.full_name, "grpc.health.v1.Health"}


def raw(opened, rpc):
    return opened.unary_unary(f"/{SCORING.full_name}/{rpc}")


def test_a_malformed_request_is_refused_without_detail_and_counted():
    service = scoring()

    async def main():
        async with (
            serving(service, listener()) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as opened,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await raw(opened, "BatchScore")(b"\xff\xff")
            return refused.value

    error = run(main)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "the request is no tact.scoring.v1.BatchScoreRequest"
    assert error_info(error).reason == "REQUEST_INVALID"
    labels = {"grpc_service": SCORING.full_name, "grpc_method": "BatchScore"}
    assert service.registry.get_sample_value("grpc_server_handling_seconds_count", labels) == 1


def test_an_rpc_that_does_not_exist_is_unimplemented():
    async def main():
        async with (
            serving(scoring(), listener()) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as opened,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await raw(opened, "DropEverything")(b"")
            return refused.value.code()

    assert run(main) == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_beyond_the_limit_is_refused():
    async def main():
        async with serving(scoring(), listener(max_message_bytes=1000)) as running, stub_of(running) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.BatchScore(pb.BatchScoreRequest(schema_fingerprint="x" * 1001))
            return refused.value.code()

    assert run(main) == grpc.StatusCode.RESOURCE_EXHAUSTED


UNAVAILABLE = Fault(FaultKind.UNAVAILABLE, errors_pb2.ERROR_REASON_MODEL_NOT_READY, "not yet")
OVERLOADED = Fault(FaultKind.OVERLOADED, errors_pb2.ERROR_REASON_OVERLOADED, "full")


@pytest.mark.parametrize(
    ("answers", "safe", "asked", "code"),
    [
        ([UNAVAILABLE] * 2, ["GetModel"], 3, None),
        ([UNAVAILABLE] * 9, ["GetModel"], 3, grpc.StatusCode.UNAVAILABLE),
        ([UNAVAILABLE] * 2, ["BatchScore"], 1, grpc.StatusCode.UNAVAILABLE),
        ([UNAVAILABLE] * 2, [], 1, grpc.StatusCode.UNAVAILABLE),
        ([OVERLOADED] * 2, ["GetModel"], 1, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["recovers", "gives up", "another is safe", "nothing is safe", "not unavailable"],
)
def test_only_safe_rpcs_are_retried_and_only_when_unavailable(answers, safe, asked, code):
    async def main():
        servicer = Scoring(answers)
        async with serving(scoring(servicer), listener()) as running, stub_of(running, safe=safe) as stub:
            failed = None
            try:
                await stub.GetModel(pb.GetModelRequest())
            except grpc.aio.AioRpcError as error:
                failed = error.code()
            return servicer.asked, failed

    assert run(main) == (asked, code)


def test_a_call_in_flight_ends_before_the_server_does():
    async def main():
        servicer = Scoring()
        serving_it = contextlib.AsyncExitStack()
        running = await serving_it.enter_async_context(serving(scoring(servicer), listener()))
        async with stub_of(running) as stub:
            answer = asyncio.ensure_future(stub.BatchScore(pb.BatchScoreRequest()))
            await servicer.entered.wait()
            stopped = asyncio.create_task(serving_it.aclose())
            refused = None
            while refused is None:
                try:
                    await stub.GetModel(pb.GetModelRequest(), timeout=1.0)
                except grpc.aio.AioRpcError as error:
                    refused = error.code()
            servicer.release.set()
            await stopped
            return refused, (await answer).model_version

    refused, answer = run(main)
    assert answer == "1"
    # The other two are for a call that crosses the server's farewell on the wire.
    assert refused in {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }


def test_a_call_that_outlives_the_drain_is_cancelled_and_cleans_up_first():
    async def main():
        servicer = Scoring()
        serving_it = contextlib.AsyncExitStack()
        running = await serving_it.enter_async_context(
            serving(scoring(servicer), listener(drain_seconds=0.05))
        )
        async with stub_of(running) as stub:
            answer = asyncio.ensure_future(stub.BatchScore(pb.BatchScoreRequest()))
            await servicer.entered.wait()
            await serving_it.aclose()
            cleaned_up = servicer.cleaned_up
            await asyncio.wait({answer})
            return cleaned_up, answer.exception().code()

    cleaned_up, code = run(main)
    assert cleaned_up
    assert code in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


def test_an_open_health_watch_does_not_hold_up_the_drain():
    async def main():
        async with contextlib.AsyncExitStack() as stack:
            running = await stack.enter_async_context(serving(scoring(), listener(drain_seconds=600)))
            async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as opened:
                watch = health_of(opened).Watch(health_pb2.HealthCheckRequest())
                await watch.read()
                await stack.aclose()
                return [(await watch.read()).status, await watch.read()]

    assert run(main) == [NOT_SERVING, grpc.aio.EOF]


@contextlib.contextmanager
def process(mode):
    """Run one mode of this file; yields the process and a reader of its lines."""
    started = subprocess.Popen(
        [sys.executable, __file__, mode],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    async def read():
        return (await asyncio.to_thread(started.stdout.readline)).strip()

    with started:
        try:
            yield started, read
        finally:
            started.kill()


either_signal = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name
)


@either_signal
def test_a_signal_drains_calls_in_flight(number):
    async def main():
        async with channel(f"127.0.0.1:{await read()}", SCORING) as opened:
            stub = GrpcStub(opened, SCORING, PATIENCE_SECONDS)
            answer = asyncio.ensure_future(stub.BatchScore(pb.BatchScoreRequest()))
            seen = [await read()]
            server.send_signal(number)
            return [*seen, await read(), (await answer).model_version]

    with process("serve") as (server, read):
        assert run(main) == ["entered", "draining", "1"]
        assert server.wait(PATIENCE_SECONDS) == 0


@either_signal
def test_a_signal_during_the_warm_up_unwinds(number):
    async def main():
        seen = [await read()]
        server.send_signal(number)
        return [*seen, await read()]

    with process("warm up") as (server, read):
        assert run(main) == ["warming up", "unwound"]
        assert server.wait(PATIENCE_SECONDS) == 0


def say(text):
    os.write(1, f"{text}\n".encode())


@contextlib.asynccontextmanager
async def one_slow_call():
    """Serve; once told to leave, the call in flight ends as soon as the server refuses others."""

    async def release_when_refused():
        async with channel(f"127.0.0.1:{running.port}", SCORING) as opened:
            with contextlib.suppress(grpc.aio.AioRpcError):
                while True:
                    await GrpcStub(opened, SCORING, 1.0).GetModel(pb.GetModelRequest())
        servicer.release.set()

    async def tell_when_entered():
        await servicer.entered.wait()
        say("entered")

    servicer = Scoring()
    async with asyncio.TaskGroup() as tasks, serving(scoring(servicer), listener()) as running:
        say(running.port)
        tasks.create_task(tell_when_entered())
        yield
        say("draining")
        tasks.create_task(release_when_refused())


@contextlib.asynccontextmanager
async def endless_warm_up():
    async def warm_up():
        say("warming up")
        await asyncio.Event().wait()

    try:
        async with serving(scoring(warm_up=warm_up), listener()):
            yield
    finally:
        say("unwound")


if __name__ == "__main__":
    modes = {"serve": one_slow_call, "warm up": endless_warm_up}
    asyncio.run(run_until_signalled(modes[sys.argv[1]]()))
