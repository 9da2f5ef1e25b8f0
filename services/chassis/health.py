"""The standard health service, whose watchers do not hold up a shutdown."""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_Status = health_pb2.HealthCheckResponse
OVERALL = ""


class Health(health_pb2_grpc.HealthServicer):
    """Answers for the whole server (the empty name) and for one service alike."""

    def __init__(self, service: str) -> None:
        self._names = (OVERALL, service)
        self._serving = False
        self._closed = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Tell watchers of a change; has no effect once closed."""
        if serving != self._serving and not self._closed:
            self._serving = serving
            self._wake()

    def close(self) -> None:
        """Turn NOT_SERVING for good and end every watch once it has said so."""
        self._serving = False
        self._closed = True
        self._wake()

    async def Check(self, request: Any, context: Any) -> _Status:
        """Answer the present status; an unknown service is NOT_FOUND."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return _Status(status=self._status(request.service))

    async def Watch(self, request: Any, context: Any) -> None:
        """Send the present status, then each change."""
        sent = None
        while True:
            changed, closed, status = self._changed, self._closed, self._status(request.service)
            if status != sent:
                await context.write(_Status(status=status))
                sent = status
            if closed:
                return
            await changed.wait()

    def _status(self, service: str) -> int:
        if service not in self._names:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if self._serving else _Status.NOT_SERVING

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
