"""What the chassis measures and logs about every call."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

HANDLING_SECONDS_BUCKETS = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

# ``json.dumps`` makes an encoder for each call when given any option.
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode

logger = logging.getLogger("tact")
rpc_logger = logging.getLogger("tact.rpc")


class RpcMetrics:
    """The metrics of one service's RPCs, declared in ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("grpc_service", "grpc_method")
        self.started = Counter(
            "grpc_server_started_total", "RPCs started on the server.", labels, registry=registry
        )
        self.handled = Counter(
            "grpc_server_handled_total",
            "RPCs completed on the server, whatever their outcome.",
            (*labels, "grpc_code"),
            registry=registry,
        )
        self.handling_seconds = Histogram(
            "grpc_server_handling_seconds",
            "Time from the start of an RPC to its outcome, faults and cancellations included.",
            labels,
            buckets=HANDLING_SECONDS_BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "grpc_server_in_flight", "RPCs started and not completed.", labels, registry=registry
        )


class MethodMetrics:
    """The metrics of one RPC with its labels resolved, so that a call pays for no lookup."""

    def __init__(self, metrics: RpcMetrics, service: str, method: str) -> None:
        self._handled = metrics.handled
        self._labels = (service, method)
        self._handled_by_code: dict[grpc.StatusCode, Counter] = {}
        self.started = metrics.started.labels(service, method)
        self.handling_seconds = metrics.handling_seconds.labels(service, method)
        self.in_flight = metrics.in_flight.labels(service, method)
        self.handled(grpc.StatusCode.OK)

    def handled(self, code: grpc.StatusCode) -> Counter:
        """Return the counter of one outcome."""
        counter = self._handled_by_code.get(code)
        if counter is None:
            counter = self._handled_by_code[code] = self._handled.labels(*self._labels, code.name)
        return counter


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the record's ``fields``.

    An exception is given as its type and stack frames. Neither its text nor any value is
    printed, because both can hold customer data.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
        }
        error = record.exc_info[1] if record.exc_info else None
        # Other libraries put the exception's text into the message, asyncio even arguments.
        ours = record.name.partition(".")[0] == logger.name
        line["message"] = record.getMessage() if ours or error is None else "exception reported"
        line.update(getattr(record, "fields", {}))
        if error is not None:
            line.update(_describe(error))
        return _encode(line)


def configure_logging(level: int | str = logging.INFO, stream: TextIO | None = None) -> None:
    """Send every log record of the process to ``stream`` (standard error) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logger.setLevel(level)
    logging.captureWarnings(True)


def log_rpc(
    service: str,
    method: str,
    code: str,
    reason: str,
    duration_seconds: float,
    deadline_seconds: float | None,
) -> None:
    """Write the access line of one RPC at INFO."""
    if not rpc_logger.isEnabledFor(logging.INFO):
        return
    fields = {
        "service": service,
        "method": method,
        "code": code,
        "reason": reason,
        "duration_ms": round(duration_seconds * 1000, 3),
        "deadline_ms": None if deadline_seconds is None else round(deadline_seconds * 1000, 1),
    }
    rpc_logger.info("rpc", extra={"fields": fields})


def log_defect(service: str, method: str, error: BaseException) -> None:
    """Write the type and frames of an exception that no contract names, never its text."""
    logger.error(
        "unhandled exception", extra={"fields": {"service": service, "method": method, **_describe(error)}}
    )


def _describe(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "exception": f"{type(error).__module__}.{type(error).__qualname__}",
        "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
