"""A service behind a socket: its way in, its health and its way out."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import cast

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.chassis import telemetry
from services.chassis.clients import KEEPALIVE_MS
from services.chassis.handlers import Active, generic_handler
from services.chassis.health import Health
from services.chassis.listener import Listener, ListenError, cannot_listen, require_loopback
from services.chassis.metrics_server import metrics_server
from services.chassis.rpc import Service

__all__ = ["ListenError", "Listener", "Running", "run_until_signalled", "serving"]

READINESS_POLL_SECONDS = 0.25
SETTLE_SECONDS = 0.25
CLEAN_UP_SECONDS = 1.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The ports that a running service is bound to."""

    port: int
    metrics_port: int


@contextlib.asynccontextmanager
async def serving(service: Service, listener: Listener) -> AsyncIterator[Running]:
    """Serve until the block ends.

    On the way in: listen NOT_SERVING, warm up, then follow ``service.ready()``. On the way
    out: NOT_SERVING, take no new calls, let those in flight end within ``drain_seconds``,
    cancel the rest. An error of the warm-up propagates once the ports are free again.

    Raises:
        ValueError: the host is no loopback address.
        ListenError: a port is taken.
    """
    require_loopback(listener.host)
    health = Health(service.full_name)
    active: Active = set()
    async with metrics_server(
        service.name, service.registry, listener.host, listener.metrics_port
    ) as metrics_port:
        server = _server(service, health, active, listener)
        try:
            port = _bind(server, service.name, listener)
            await server.start()
            await service.warm_up()
            async with _following(service, health):
                fields = {"service": service.name, "port": port, "metrics_port": metrics_port}
                telemetry.logger.info("serving", extra={"fields": fields})
                yield Running(port=port, metrics_port=metrics_port)
        finally:
            health.close()
            await _drain(server, active, listener.drain_seconds)
            # Cancelled calls may still be cleaning up, with stores that the caller closes next.
            if active:
                await asyncio.wait(set(active), timeout=CLEAN_UP_SECONDS)


async def run_until_signalled(running: AbstractAsyncContextManager[object] | None = None) -> None:
    """Enter ``running``, stay until SIGTERM or SIGINT, then leave it.

    A signal on the way in cancels the entry, which then unwinds; a second signal ends the
    process at once. Without ``running`` this only waits, and a SIGTERM that came earlier has
    ended the process without a drain.
    """
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[None]", asyncio.current_task())
    signalled = asyncio.Event()
    is_entered = False

    def stop() -> None:
        listen_no_more()
        signalled.set()
        if not is_entered:
            task.cancel()

    def listen_no_more() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        async with running or contextlib.nullcontext():
            is_entered = True
            await signalled.wait()
    except asyncio.CancelledError:
        if is_entered or not signalled.is_set():
            raise
        task.uncancel()
    finally:
        listen_no_more()


def _server(service: Service, health: Health, active: Active, listener: Listener) -> grpc.aio.Server:
    server = grpc.aio.server(
        options=[
            # Two servers would share one port without a word.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", listener.max_message_bytes),
            ("grpc.max_send_message_length", listener.max_message_bytes),
            # Without these a server takes the keepalive of our own clients for an attack.
            ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
    )
    server.add_generic_rpc_handlers((generic_handler(service, active),))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    # The listener is on loopback, so whoever can ask is on this machine.
    reflection.enable_server_reflection((service.full_name, health_name, reflection.SERVICE_NAME), server)
    return server


def _bind(server: grpc.aio.Server, service: str, listener: Listener) -> int:
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    try:
        return server.add_insecure_port(f"{host}:{listener.port}")
    except RuntimeError:
        raise cannot_listen(service, listener.host, listener.port) from None


async def _drain(server: grpc.aio.Server, active: Active, seconds: float) -> None:
    stopping = asyncio.ensure_future(server.stop(seconds))
    while not stopping.done():
        if active:
            await asyncio.wait({stopping, *active}, return_when=asyncio.FIRST_COMPLETED)
            continue
        await asyncio.wait({stopping}, timeout=SETTLE_SECONDS)
        if not active and not stopping.done():
            # The library can lose a call that arrives as the stop begins: it is accepted but
            # never handed over, and would hold up its caller and the drain to the very end.
            await server.stop(None)
    await stopping


@contextlib.asynccontextmanager
async def _following(service: Service, health: Health) -> AsyncIterator[None]:
    async def follow() -> None:
        while True:
            await asyncio.sleep(READINESS_POLL_SECONDS)
            health.set_serving(_is_ready(service))

    health.set_serving(_is_ready(service))
    follower = asyncio.create_task(follow())
    try:
        yield
    finally:
        follower.cancel()
        await asyncio.wait({follower})


def _is_ready(service: Service) -> bool:
    try:
        return service.ready()
    except Exception as error:
        telemetry.log_defect(service.full_name, "ready", error)
        return False
