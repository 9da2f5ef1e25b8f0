"""Channels to other services, and stubs that never wait forever."""

import json
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from services.chassis.listener import DEFAULT_MESSAGE_BYTES

# A server that stops cancels what still arrives on its connections, before any of it is begun.
OUT_OF_REACH = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What a call fails with where nobody took it; a caller who cancels gets ``CancelledError`` instead."""
KEEPALIVE_MS = 5_000
SILENCE_MS = 5_000
"""How long the other end of a connection may say nothing before it counts as gone."""


class UnaryCall(Protocol):
    """One RPC of a stub; without a timeout the stub's default applies."""

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str]] | None = None,
    ) -> Awaitable[Any]: ...


class Stub(Protocol):
    """A client of one service, over the wire or in process.

    Each RPC is an attribute. It raises ``grpc.aio.AioRpcError`` for every failure, and
    ``asyncio.CancelledError`` only where the caller itself is cancelled.
    """

    def __getattr__(self, rpc: str, /) -> UnaryCall: ...


def channel(
    address: str,
    descriptor: ServiceDescriptor,
    *,
    safe: Iterable[str] = (),
    attempts: int = 3,
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES,
) -> grpc.aio.Channel:
    """Open a channel to one service.

    What is retried is decided here and nowhere else: RPCs named in ``safe`` are tried up to
    ``attempts`` times within their deadline while they are out of reach; every other
    failure, and every other RPC, fails at once.

    Raises:
        ValueError: ``safe`` names an RPC that the service does not have.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(retry_config(descriptor, safe, attempts))),
        # Channels to one address share a connection unless told otherwise, and one connection
        # reaches one worker only.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", SILENCE_MS),
        # A connection in use is probed by other pings than an idle one, and those may take a minute;
        # an attempt to connect may wait twenty seconds for the greeting.
        ("grpc.http2.ping_timeout_ms", SILENCE_MS),
        ("grpc.min_reconnect_backoff_ms", SILENCE_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]
    return grpc.aio.insecure_channel(address, options=options)


class GrpcStub:
    """One attribute for each RPC of a service, called over a channel."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        descriptor: ServiceDescriptor,
        default_timeout: float,
        timeouts: Mapping[str, float] | None = None,
    ) -> None:
        """Make a stub; ``timeouts`` overrides the default for single RPCs, in seconds."""
        for method in descriptor.methods:
            setattr(
                self, method.name, _unary(channel, method, (timeouts or {}).get(method.name, default_timeout))
            )

    def __getattr__(self, rpc: str) -> UnaryCall:
        raise AttributeError(f"no such RPC: {rpc}")


def deadline_exceeded() -> grpc.aio.AioRpcError:
    """Make the error of a client that gives up waiting, as the library words it."""
    return grpc.aio.AioRpcError(
        grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata(), "Deadline Exceeded"
    )


def _unary(channel: grpc.aio.Channel, method: MethodDescriptor, default_timeout: float) -> UnaryCall:
    multicallable = channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )

    async def call(
        request: Message,
        *,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str]] | None = None,
    ) -> Any:
        seconds = default_timeout if timeout is None else timeout
        if seconds <= 0:
            raise deadline_exceeded()
        return await multicallable(request, timeout=seconds, metadata=metadata)

    return call


def retry_config(descriptor: ServiceDescriptor, safe: Iterable[str], attempts: int) -> dict[str, Any]:
    """Make the service config that retries the RPCs named in ``safe``; empty without any."""
    rpcs = sorted(safe)
    if unknown := [rpc for rpc in rpcs if rpc not in descriptor.methods_by_name]:
        raise ValueError(f"{descriptor.full_name} has no RPC {', '.join(unknown)}")
    if not rpcs or attempts < 2:
        return {}
    return {
        "methodConfig": [
            {
                "name": [{"service": descriptor.full_name, "method": rpc} for rpc in rpcs],
                "retryPolicy": {
                    "maxAttempts": attempts,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": [code.name for code in OUT_OF_REACH],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
