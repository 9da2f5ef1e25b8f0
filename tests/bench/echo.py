"""A bare gRPC server: it answers one RPC with a recorded message, counts, and does nothing else.

With ``--behind`` it is the gateway of the fan-out floor: it asks profile and features at once, then
scoring, as a plain implementation would, with recorded requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from tact.features.v1 import feature_service_pb2
from tact.profile.v1 import profile_service_pb2
from tact.scoring.v1 import scoring_service_pb2

from bench.messages import Recording, Recordings, read_recordings
from services.chassis.clients import KEEPALIVE_MS, channel
from services.chassis.listener import DEFAULT_MESSAGE_BYTES
from services.chassis.metrics_server import metrics_server
from services.chassis.server import run_until_signalled

# The same as those of the chassis' server.
OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", DEFAULT_MESSAGE_BYTES),
    ("grpc.max_send_message_length", DEFAULT_MESSAGE_BYTES),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.keepalive_permit_without_calls", 1),
]
TIMEOUT_SECONDS = 1.0
_BEHIND = {
    "profile": profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"],
    "features": feature_service_pb2.DESCRIPTOR.services_by_name["FeatureService"],
    "scoring": scoring_service_pb2.DESCRIPTOR.services_by_name["ScoringService"],
}

Ask = Callable[[], Awaitable[object]]


class Echo(Collector):
    """Answers every call alike; ``meanwhile`` is awaited first."""

    def __init__(self, recording: Recording, meanwhile: Ask | None = None) -> None:
        self._recording = recording
        self._meanwhile = meanwhile
        self._answered = 0

    async def plain(self, request: bytes, context: object) -> bytes:
        """Answer at once."""
        self._answered += 1
        return self._recording.response

    async def fanned_out(self, request: bytes, context: object) -> bytes:
        """Answer once the services behind have answered."""
        assert self._meanwhile is not None
        await self._meanwhile()
        self._answered += 1
        return self._recording.response

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the RPC, whose messages stay bytes."""
        answer: Any = self.plain if self._meanwhile is None else self.fanned_out
        methods: dict[str, Any] = {self._recording.rpc: grpc.unary_unary_rpc_method_handler(answer)}
        return grpc.method_handlers_generic_handler(self._recording.service, methods)

    def collect(self) -> Iterator[Metric]:
        """Tell how many calls were answered, in the words of every gRPC server."""
        family = CounterMetricFamily(
            "grpc_server_handled", "Answered.", labels=("grpc_service", "grpc_method", "grpc_code")
        )
        family.add_metric((self._recording.service, self._recording.rpc, "OK"), self._answered)
        yield family


def main() -> None:
    """Serve until a signal, on free ports that standard error tells."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", help="which recorded service to play")
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--behind", type=json.loads, help="address by name of the services behind")
    arguments = parser.parse_args()
    recordings = read_recordings(arguments.recordings)
    asyncio.run(run_until_signalled(_serving(arguments.name, recordings, arguments.behind)))


@asynccontextmanager
async def _serving(
    name: str, recordings: Recordings, behind: Mapping[str, str] | None
) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        meanwhile = await _asking(stack, recordings, behind) if behind else None
        echo = Echo(recordings[name], meanwhile)
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((echo.handler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        registry = CollectorRegistry()
        registry.register(echo)
        metrics_port = await stack.enter_async_context(metrics_server(name, registry, "127.0.0.1", 0))
        await server.start()
        stack.push_async_callback(server.stop, None)
        told = {"message": "serving", "service": name, "port": port, "metrics_port": metrics_port}
        sys.stderr.write(json.dumps(told) + "\n")
        sys.stderr.flush()
        yield


async def _asking(stack: AsyncExitStack, recordings: Recordings, behind: Mapping[str, str]) -> Ask:
    calls: dict[str, Ask] = {}
    for name, descriptor in _BEHIND.items():
        opened = await stack.enter_async_context(channel(behind[name], descriptor))
        calls[name] = _call(opened, recordings[name])

    async def ask() -> None:
        await asyncio.gather(calls["profile"](), calls["features"]())
        await calls["scoring"]()

    return ask


def _call(opened: grpc.aio.Channel, recording: Recording) -> Ask:
    rpc: Any = opened.unary_unary(recording.path)

    async def call() -> object:
        return await rpc(recording.request, timeout=TIMEOUT_SECONDS)

    return call


if __name__ == "__main__":
    main()
