"""Records what a real gateway and its services say to each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from tact.decision.v1 import decision_service_pb2
from tact.features.v1 import feature_service_pb2
from tact.profile.v1 import profile_service_pb2
from tact.scoring.v1 import scoring_service_pb2

from bench.messages import Recording, Recordings
from services.chassis.clients import GrpcStub, Stub, channel
from services.chassis.rpc import Call
from services.chassis.settings import load as load_settings
from services.engine.playbook.loader import load
from services.gateway.app import DEFAULT_TIMEOUT_SECONDS, Stubs, open_service
from services.gateway.settings import GatewaySettings

SERVICES: Mapping[str, tuple[ServiceDescriptor, str]] = {
    "gateway": (decision_service_pb2.DESCRIPTOR.services_by_name["DecisionService"], "Decide"),
    "profile": (profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"], "BatchGetProfiles"),
    "features": (feature_service_pb2.DESCRIPTOR.services_by_name["FeatureService"], "BatchGetFeatures"),
    "scoring": (scoring_service_pb2.DESCRIPTOR.services_by_name["ScoringService"], "BatchScore"),
}
"""Each service, and the RPC that a decision calls."""

Exchange = tuple[bytes, bytes]
Kept = defaultdict[tuple[str, str], list[Exchange]]


class RecordingStub:
    """A stub that keeps what passes through it."""

    def __init__(self, stub: Stub, service: str, kept: Kept) -> None:
        self._stub = stub
        self._service = service
        self._kept = kept

    def __getattr__(self, rpc: str) -> Any:
        asked = getattr(self._stub, rpc)

        async def call(request: Message, **options: Any) -> Any:
            response = await asked(request, **options)
            exchange = (request.SerializeToString(), response.SerializeToString())
            self._kept[self._service, rpc].append(exchange)
            return response

        return call


async def record(
    playbook: Path,
    home: Path,
    ports: Mapping[str, int],
    requests: Sequence[decision_service_pb2.DecideRequest],
) -> Kept:
    """Make live decisions in a gateway of this process that asks the services at ``ports``.

    Returns the requests and responses by service and RPC, ``gateway`` included.
    """
    kept: Kept = defaultdict(list)
    async with AsyncExitStack() as stack:
        stubs = {}
        for name, port in ports.items():
            descriptor, _ = SERVICES[name]
            opened = await stack.enter_async_context(channel(f"127.0.0.1:{port}", descriptor))
            stub = GrpcStub(opened, descriptor, DEFAULT_TIMEOUT_SECONDS)
            stubs[name] = RecordingStub(stub, name, kept)
        settings = load_settings(GatewaySettings, {"TACT_HOME": str(home), "TACT_PLAYBOOK": str(playbook)})
        service = await stack.enter_async_context(open_service(settings, load(playbook), Stubs(**stubs)))
        for number, request in enumerate(requests):
            identified = decision_service_pb2.DecideRequest(request_id=f"{number:032d}")
            identified.MergeFrom(request)
            response = await service.endpoints["Decide"](identified, Call())
            kept["gateway", "Decide"].append((identified.SerializeToString(), response.SerializeToString()))
    return kept


def medians(exchanges: Kept) -> Recordings:
    """Return a recording for each service, ``gateway`` included."""
    return {
        name: Recording(
            service=descriptor.full_name,
            rpc=rpc,
            request=_median(request for request, _ in exchanges[name, rpc]),
            response=_median(response for _, response in exchanges[name, rpc]),
        )
        for name, (descriptor, rpc) in SERVICES.items()
    }


def _median(messages: Iterable[bytes]) -> bytes:
    ordered = sorted(messages, key=len)
    return ordered[len(ordered) // 2]
