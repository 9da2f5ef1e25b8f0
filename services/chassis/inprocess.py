"""A client stub that calls a service of the same process without a socket."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import grpc.aio
from google.protobuf.message import Message

from services.chassis.clients import UnaryCall, deadline_exceeded
from services.chassis.faults import STATUS_DETAILS_KEY, Fault, to_status
from services.chassis.rpc import Call, Endpoint, Service


class InProcessStub:
    """One attribute for each RPC, with the signature and the errors of ``GrpcStub``.

    The service runs in the caller's task. Its response object itself is returned, so it is
    read-only, as the request is once handed over. Limits on message sizes do not apply.
    """

    def __init__(
        self, service: Service, default_timeout: float, timeouts: Mapping[str, float] | None = None
    ) -> None:
        """Make a stub; ``timeouts`` overrides the default for single RPCs, in seconds."""
        for rpc, endpoint in service.endpoints.items():
            setattr(self, rpc, _unary(endpoint, (timeouts or {}).get(rpc, default_timeout)))

    def __getattr__(self, rpc: str) -> UnaryCall:
        raise AttributeError(f"no such RPC: {rpc}")


def _unary(endpoint: Endpoint, default_timeout: float) -> UnaryCall:
    async def call(
        request: Message,
        *,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str]] | None = None,
    ) -> Any:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        cancels = task.cancelling()
        clock = asyncio.get_running_loop().time
        deadline = clock() + (default_timeout if timeout is None else timeout)
        if deadline <= clock():
            raise deadline_exceeded()
        context = Call(remaining=lambda: max(deadline - clock(), 0.0), metadata=dict(metadata or ()))
        failure: Fault | None = None
        response = None
        try:
            async with asyncio.timeout_at(deadline):
                response = await endpoint(request, context)
        except TimeoutError:
            raise deadline_exceeded() from None
        except Fault as fault:
            failure = fault
        # Over the wire the caller would have left, whatever the service still answers.
        if task.cancelling() > cancels:
            raise asyncio.CancelledError
        if clock() >= deadline:
            raise deadline_exceeded()
        if failure is not None:
            raise _rpc_error(failure)
        return response

    return call


def _rpc_error(fault: Fault) -> grpc.aio.AioRpcError:
    status = to_status(fault)
    trailing = grpc.aio.Metadata((STATUS_DETAILS_KEY, status.SerializeToString()))
    return grpc.aio.AioRpcError(fault.code, grpc.aio.Metadata(), trailing, status.message)
