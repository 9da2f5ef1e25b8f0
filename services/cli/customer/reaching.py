"""The services that keep something of customers, reached where the command line or the settings say."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from tact.decision.v1 import decision_service_pb2
from tact.features.v1 import feature_service_pb2
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.faults import error_info
from services.chassis.settings import ServiceSettings
from services.cli.addresses import address_of
from services.cli.customer.linking import key_of
from services.cli.failure import Failure
from services.features.settings import FeatureSettings
from services.gateway.settings import GatewaySettings
from services.profile.settings import ProfileSettings

# Profile acknowledges an erasure once nobody acts any more on what was read before: at most a minute.
_SECONDS: Final = 90.0
_SAFE: Final = {"profile": ["BatchGetProfiles", "ExportCustomer"]}


class Refused(Failure):
    """A service answered with an error; ``reason`` is what the contract calls it, else the code."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """One service; ``messages`` is the module of its protos."""

    name: str
    address: str
    stub: GrpcStub
    messages: ModuleType

    async def call(self, rpc: str, request: Message) -> Any:
        """Call an RPC.

        Raises:
            Refused: it answers with an error, or not at all.
        """
        try:
            return await getattr(self.stub, rpc)(request)
        except grpc.aio.AioRpcError as error:
            info = error_info(error)
            reason = error.code().name if info is None else info.reason
            raise Refused(f"{self.name} at {self.address}: {reason}: {error.details()}", reason) from None


_SERVICES: Final[tuple[tuple[str, ModuleType, str, type[ServiceSettings], str], ...]] = (
    ("profile", profile_pb, "ProfileService", ProfileSettings, "address"),
    ("features", feature_service_pb2, "FeatureService", FeatureSettings, "features_address"),
    ("gateway", decision_service_pb2, "DecisionService", GatewaySettings, "gateway_address"),
)
NAMES: Final = tuple(name for name, *_ in _SERVICES)
"""In the order in which an erasure goes through them: once profile has acknowledged it, nobody decides
any more on what was known before."""


@asynccontextmanager
async def reached(arguments: argparse.Namespace) -> AsyncIterator[Mapping[str, Reached]]:
    """Open a channel to each service, by name."""
    async with AsyncExitStack() as stack:
        found = {}
        for name, messages, service, settings, option in _SERVICES:
            address = getattr(arguments, option) or address_of(settings)
            descriptor = messages.DESCRIPTOR.services_by_name[service]
            safe = _SAFE.get(name, ["ExportCustomer"])
            opened = await stack.enter_async_context(channel(address, descriptor, safe=safe))
            stub = GrpcStub(opened, descriptor, _SECONDS)
            found[name] = Reached(name=name, address=address, stub=stub, messages=messages)
        yield found


async def members_of(profile: Reached, customer: str) -> tuple[str, ...]:
    """Return all ids of a customer, who is named by an id or by an identity as kind=value.

    An id that is not on file stands for itself, as events and decisions may have it all the same.

    Raises:
        Failure: nobody is known by the identity, or profile does not tell.
    """
    if (known := await on_file(profile, customer)) is not None:
        return tuple(known.member_ids)
    if not (customer_id := key_of(customer).customer_id):
        raise Failure("nobody is known by this identity")
    return (customer_id,)


async def on_file(profile: Reached, customer: str) -> profile_pb.Profile | None:
    """Return what profile knows of who is named likewise; None of whom it does not know.

    Raises:
        Failure: profile does not tell.
    """
    asked = profile_pb.BatchGetProfilesRequest(customers=[key_of(customer)])
    result = (await profile.call("BatchGetProfiles", asked)).results[0]
    if result.HasField("error"):
        raise Failure(f"profile at {profile.address}: {result.error.message}")
    return result.profile if result.profile.found else None
