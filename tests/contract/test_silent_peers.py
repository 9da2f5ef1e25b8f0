"""Peers that keep a connection open and say nothing are given up."""

import asyncio

import grpc
from detours import Detour
from prometheus_client import CollectorRegistry
from tact.profile.v1 import profile_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.rpc import Service
from services.chassis.server import Listener, serving

PROFILE = pb.DESCRIPTOR.services_by_name["ProfileService"]
# Three times what it takes; without a bound of our own it takes twenty seconds, or for ever.
PATIENCE_SECONDS = 15.0


class Anything:
    """Answers every RPC with its empty response."""

    def __getattr__(self, rpc):
        async def answer(request, call):
            return getattr(pb, f"{rpc}Response")()

        return answer


def run(main):
    async def bounded():
        async with asyncio.timeout(PATIENCE_SECONDS):
            service = Service(
                name="profile", descriptor=PROFILE, servicer=Anything(), registry=CollectorRegistry()
            )
            async with serving(service, Listener(port=0, metrics_port=0)) as ports:
                return await main(ports)

    return asyncio.run(bounded())


async def until_answered(stub):
    """Ask until there is an answer; return how the last attempt before it failed."""
    failure = None
    while True:
        try:
            await stub.BatchGetProfiles(pb.BatchGetProfilesRequest(), timeout=0.5)
        except grpc.aio.AioRpcError as error:
            failure = error.code()
        else:
            return failure


def test_a_connection_that_is_never_greeted_is_given_up():
    async def main(ports):
        async with Detour(ports.port) as detour:
            detour.hold()
            async with channel(f"127.0.0.1:{detour.port}", PROFILE) as opened:
                stub = GrpcStub(opened, PROFILE, PATIENCE_SECONDS)
                asking = asyncio.create_task(until_answered(stub))
                await detour.connected.wait()
                detour.forget()
                return await asking

    assert run(main) is grpc.StatusCode.UNAVAILABLE


def test_a_reader_of_metrics_that_stops_halfway_is_hung_up_on():
    async def main(ports):
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.metrics_port)
        writer.write(b"GET /metr")
        try:
            return await reader.read()
        finally:
            writer.close()

    assert run(main) == b""
