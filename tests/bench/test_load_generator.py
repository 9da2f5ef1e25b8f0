"""The load generator tells success from failure, and does not hide waiting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest

from bench import metrics
from bench.http2 import Connection
from bench.load import Closed, Open, Run, drive
from bench.messages import Recording, write_recordings
from bench.processes import Bound, started

RECORDING = Recording(service="bench.v1.Echo", rpc="Answer", request=b"", response=b"r" * 70_000)
CALL = (RECORDING.service, RECORDING.rpc)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bound]:
    folder = tmp_path_factory.mktemp("echo")
    write_recordings(folder / "recordings", {"gateway": RECORDING})
    arguments = ["gateway", str(folder / "recordings")]
    with started("echo", "bench.echo", arguments, folder / "log", ["gateway"]) as server:
        yield server.services["gateway"]


def calls(port: int, path: str, message: bytes = b"question", requests: int = 50) -> Run:
    connection = Connection(port, path, timeout_seconds=10)
    try:
        plan = Closed(in_flight=8, seconds=math.inf, requests=requests)
        return drive(connection, itertools.repeat(message), plan)
    finally:
        connection.close()


def test_every_call_is_answered_with_the_recorded_message_and_counted_by_the_server(echo: Bound) -> None:
    before = dict(metrics.scrape(echo.metrics_port))
    run = calls(echo.port, RECORDING.path)
    grown = metrics.difference(dict(metrics.scrape(echo.metrics_port)), before)
    assert (run.sent, len(run.latencies), run.failures) == (50, 50, [])
    assert {sample.message for sample in run.samples} == {RECORDING.response}
    metrics.verify_answered("echo", grown, [CALL], sent=50)


def test_requests_larger_than_the_servers_window_all_arrive(echo: Bound) -> None:
    run = calls(echo.port, RECORDING.path, message=b"q" * 60_000)
    assert (run.sent, run.failures) == (50, [])


def test_an_unimplemented_rpc_is_no_success(echo: Bound) -> None:
    run = calls(echo.port, "/bench.v1.Echo/Misspelt")
    assert len(run.failures) == run.sent == 50


def test_a_server_that_counted_less_than_was_sent_fails_the_bench() -> None:
    labels = {"grpc_service": CALL[0], "grpc_method": CALL[1], "grpc_code": "OK"}
    grown = {("grpc_server_handled_total", tuple(sorted(labels.items()))): 49.0}
    with pytest.raises(metrics.Miscounted, match=r"50 requests were sent, .* counted 49 OK and 0 others"):
        metrics.verify_answered("echo", grown, [CALL], sent=50)


def test_an_open_loop_measures_from_the_time_that_a_call_was_meant_to_be_sent() -> None:
    plan = Open([0.0, 0.1, 0.2])
    assert plan.due(now=5.0, sent=1, in_flight=1) == 0.1


def test_an_open_loop_sends_whatever_is_still_unanswered() -> None:
    plan = Open.at_random(rate=100.0, seconds=math.inf, requests=1_000, seed=1)
    assert plan.due(now=60.0, sent=999, in_flight=999) == plan.times[999]
    assert plan.times[-1] == pytest.approx(10.0, rel=0.1)


def test_a_closed_loop_waits_for_an_answer() -> None:
    plan = Closed(in_flight=2, seconds=1.0)
    assert plan.due(now=0.5, sent=2, in_flight=1) == 0.5
    assert plan.due(now=0.5, sent=2, in_flight=2) is None
