import asyncio
import json
import logging
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

from services.chassis.telemetry import (
    HANDLING_SECONDS_BUCKETS,
    JsonFormatter,
    RpcMetrics,
    log_defect,
    log_rpc,
    logger,
)

ADDRESS = "anna@example.org"


def raised():
    try:
        raise KeyError(ADDRESS)
    except KeyError as error:
        return error


@pytest.fixture
def lines():
    class Lines(logging.Handler):
        def __init__(self):
            super().__init__()
            self.written = []
            self.setFormatter(JsonFormatter())

        def emit(self, record):
            self.written.append(self.format(record))

    handler = Lines()
    loggers = (logger, logging.getLogger("asyncio"))
    for each in loggers:
        each.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.written
    for each in loggers:
        each.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_an_rpc_is_one_json_line(lines):
    log_rpc("tact.x.v1.XService", "GetX", "NOT_FOUND", "X_UNKNOWN", 0.0123, 0.5)
    line = json.loads(lines[0])
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "tact.rpc",
        "message": "rpc",
        "service": "tact.x.v1.XService",
        "method": "GetX",
        "code": "NOT_FOUND",
        "reason": "X_UNKNOWN",
        "duration_ms": 12.3,
        "deadline_ms": 500.0,
    }


def test_a_quiet_logger_gets_no_line(lines):
    logger.setLevel(logging.WARNING)
    log_rpc("s", "m", "OK", "", 0.1, None)
    assert lines == []


def test_a_defect_shows_type_and_frames_but_never_the_text(lines, caplog):
    log_defect("s", "m", raised())
    line = json.loads(lines[0])
    assert line["exception"] == "builtins.KeyError"
    assert line["frames"][0].endswith(" raised")
    assert ADDRESS not in lines[0] + caplog.text


def test_what_asyncio_reports_of_a_lost_task_is_stripped_too(lines):
    async def lose():
        raise ValueError(ADDRESS)

    async def main():
        task = asyncio.create_task(lose())
        await asyncio.wait({task})
        del task

    asyncio.run(main())
    line = json.loads(lines[0])
    assert (line["message"], line["exception"]) == ("exception reported", "builtins.ValueError")
    assert ADDRESS not in lines[0]


def test_configured_logging_writes_json_to_standard_error():
    script = (
        "import logging, warnings; from services.chassis import telemetry as t; t.configure_logging('INFO');"
        "t.log_rpc('s', 'm', 'OK', '', 0.001, None); logging.getLogger('other').info('no');"
        "logging.getLogger('other').warning('yes'); warnings.warn('careful')"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    written = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["logger"] for line in written] == ["tact.rpc", "other", "py.warnings"]
    assert ended.stdout == ""


def test_the_thresholds_of_service_levels_are_bucket_edges():
    assert {0.00025, 0.005, 0.01, 0.025, 0.05, 0.1, 10.0} <= set(HANDLING_SECONDS_BUCKETS)
    assert list(HANDLING_SECONDS_BUCKETS) == sorted(HANDLING_SECONDS_BUCKETS)


def test_metric_names_are_those_of_the_ecosystem():
    registry = CollectorRegistry()
    RpcMetrics(registry)
    assert {metric.name for metric in registry.collect()} == {
        "grpc_server_started",
        "grpc_server_handled",
        "grpc_server_handling_seconds",
        "grpc_server_in_flight",
    }
