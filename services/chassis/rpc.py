"""One RPC of one service, the same behind a socket and inside a process."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from prometheus_client import CollectorRegistry

from services.chassis import telemetry
from services.chassis.deadline import Remaining, answering, no_deadline
from services.chassis.faults import Fault, deadline_exceeded, internal

ANONYMOUS = "anonymous"

# A client gives up and tells the server a moment before the server's own clock reaches the
# deadline, so a cancel this close to it is the deadline.
_DEADLINE_SLACK_SECONDS = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a servicer may know about the call it answers.

    ``remaining()`` is the time left in seconds, not below 0, or None without a deadline.
    """

    caller: str = ANONYMOUS
    remaining: Remaining = no_deadline
    metadata: Mapping[str, str] = field(default_factory=dict)


Method = Callable[[Any, Call], Awaitable[Any]]


class Endpoint:
    """One RPC: the servicer's method with metrics, access log and error mapping around it."""

    def __init__(
        self, service: str, rpc: str, method: Method, answer: type[Message], metrics: telemetry.RpcMetrics
    ) -> None:
        self.service = service
        self.rpc = rpc
        self._method = method
        self._answer = answer
        self._metrics = telemetry.MethodMetrics(metrics, service, rpc)

    def __call__(self, request: Message, call: Call) -> Awaitable[Any]:
        """Answer one call and count it, whatever comes of it.

        A call whose deadline has passed is refused without running the method.

        Raises:
            Fault: whatever the method raises; INTERNAL without detail for anything that is no
                Fault, after its type and frames were logged.
            asyncio.CancelledError: the call was cancelled or ran into its deadline.
        """
        return self._run(self._method, request, call)

    def refuse(self, fault: Fault, call: Call) -> Awaitable[Any]:
        """Fail one call that never reached the method, counted like any other."""
        return self._run(_raise, fault, call)

    async def _run(self, method: Method, request: Any, call: Call) -> Any:
        metrics = self._metrics
        started = time.perf_counter()
        deadline = call.remaining()
        code = grpc.StatusCode.OK
        reason = ""
        metrics.started.inc()
        metrics.in_flight.inc()
        try:
            if deadline is not None and deadline <= 0:
                raise deadline_exceeded()
            with answering(call.remaining):
                response = await method(request, call)
            if not isinstance(response, self._answer):
                raise TypeError(f"{self.rpc} answered with {type(response).__name__}")
            return response
        except asyncio.CancelledError as error:
            if not _is_cancelling():
                fault = self._defect(error)
                code, reason = fault.code, fault.reason_name
                raise fault from None
            code = grpc.StatusCode.DEADLINE_EXCEEDED if _is_late(call) else grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            fault = self._fault(error, call)
            code, reason = fault.code, fault.reason_name
            if fault is error:
                raise
            raise fault from None
        finally:
            seconds = time.perf_counter() - started
            metrics.in_flight.dec()
            metrics.handled(code).inc()
            metrics.handling_seconds.observe(seconds)
            telemetry.log_rpc(self.service, self.rpc, code.name, reason, seconds, deadline)

    def _fault(self, error: Exception, call: Call) -> Fault:
        if isinstance(error, Fault):
            return error
        if isinstance(error, TimeoutError) and _is_late(call):
            return deadline_exceeded()
        return self._defect(error)

    def _defect(self, error: BaseException) -> Fault:
        telemetry.log_defect(self.service, self.rpc, error)
        return internal()


async def _raise(fault: Fault, call: Call) -> Any:
    raise fault


def _is_cancelling() -> bool:
    # A CancelledError that nobody asked for leaks from an inner task; letting it pass would
    # cancel an in-process caller.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_late(call: Call) -> bool:
    remaining = call.remaining()
    return remaining is not None and remaining <= _DEADLINE_SLACK_SECONDS


async def _nothing() -> None:
    return None


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A servicer and what the chassis must know to run it.

    The servicer has ``async def <Rpc>(self, request, call: Call)`` for each RPC of the
    descriptor, which holds unary RPCs only. A response is read-only once returned.
    """

    name: str
    descriptor: ServiceDescriptor
    servicer: object
    registry: CollectorRegistry
    warm_up: Callable[[], Awaitable[None]] = _nothing
    ready: Callable[[], bool] = _always
    endpoints: Mapping[str, Endpoint] = field(init=False)

    def __post_init__(self) -> None:
        metrics = telemetry.RpcMetrics(self.registry)
        endpoints = {
            method.name: Endpoint(
                self.full_name,
                method.name,
                self._method(method),
                GetMessageClass(method.output_type),
                metrics,
            )
            for method in self.descriptor.methods
        }
        object.__setattr__(self, "endpoints", endpoints)

    @property
    def full_name(self) -> str:
        """The protobuf name of the service, such as ``tact.profile.v1.ProfileService``."""
        return self.descriptor.full_name

    def _method(self, descriptor: MethodDescriptor) -> Method:
        if descriptor.client_streaming or descriptor.server_streaming:
            raise TypeError(f"{descriptor.full_name} streams, which the chassis does not serve")
        method: Method | None = getattr(self.servicer, descriptor.name, None)
        if method is None:
            raise TypeError(f"{type(self.servicer).__name__} does not implement {descriptor.full_name}")
        return method
