"""The way from a gRPC server into a service's endpoints and back."""

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from services.chassis.faults import STATUS_DETAILS_KEY, Fault, invalid, to_status
from services.chassis.rpc import Call, Endpoint, Service

Active = set[asyncio.Task[Any]]


def generic_handler(service: Service, active: Active) -> grpc.GenericRpcHandler:
    """Make the handler of all RPCs of a service; ``active`` holds the tasks of those running."""
    methods = service.descriptor.methods_by_name
    handlers = {rpc: _handler(methods[rpc], endpoint, active) for rpc, endpoint in service.endpoints.items()}
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _handler(
    method: MethodDescriptor, endpoint: Endpoint, active: Active
) -> "grpc.RpcMethodHandler[bytes, Message]":
    parse = GetMessageClass(method.input_type).FromString

    # The library itself would answer a malformed payload with the text of the parser's
    # exception, and nobody would count it.
    def answer(payload: bytes, call: Call) -> Awaitable[Message]:
        try:
            request = parse(payload)
        except DecodeError:
            return endpoint.refuse(invalid(message=f"the request is no {method.input_type.full_name}"), call)
        return endpoint(request, call)

    async def handle(payload: bytes, context: "grpc.aio.ServicerContext[bytes, Message]") -> Message:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        active.add(task)
        metadata = context.invocation_metadata() or ()
        call = Call(
            remaining=context.time_remaining,
            metadata={key: value for key, value in metadata if isinstance(value, str)},
        )
        try:
            return await answer(payload, call)
        except Fault as fault:
            status = to_status(fault)
            # Setting code and details instead would send an empty message first, and a client
            # does not retry what has begun to answer.
            await context.abort(
                fault.code, status.message, ((STATUS_DETAILS_KEY, status.SerializeToString()),)
            )
        finally:
            active.discard(task)

    return grpc.unary_unary_rpc_method_handler(
        handle, response_serializer=GetMessageClass(method.output_type).SerializeToString
    )
