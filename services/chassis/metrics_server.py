"""The page that Prometheus reads."""

import asyncio
import contextlib
import socket
import socketserver
import threading
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry, MetricsHandler

from services.chassis.listener import cannot_listen

# Bounds how long a shutdown waits for the thread to notice.
_POLL_SECONDS = 0.1


class _Page(MetricsHandler):
    # A connection costs a thread for as long as it lasts.
    timeout = 2.0


@contextlib.asynccontextmanager
async def metrics_server(
    service: str, registry: CollectorRegistry, host: str, port: int
) -> AsyncIterator[int]:
    """Serve a registry over HTTP from a thread; yields the port that was bound.

    Raises:
        ListenError: the port is taken.
    """

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True

    try:
        server = Server((host, port), _Page.factory(registry))
    except OSError as error:
        raise cannot_listen(service, host, port) from error
    thread = threading.Thread(
        target=server.serve_forever, args=(_POLL_SECONDS,), name=f"{service}-metrics", daemon=True
    )
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
