"""The services that make the decisions of cases: all real but scoring, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message
from tact.features.v1 import feature_service_pb2 as features_pb

from services.chassis.clients import Stub, UnaryCall
from services.chassis.inprocess import InProcessStub
from services.chassis.settings import load
from services.cli.cases.scoring import ScriptedScoring
from services.cli.cases.situations import Case
from services.engine.instants import instant
from services.engine.playbook.playbook import Playbook
from services.features import app as features
from services.features.settings import FeatureSettings
from services.gateway import app as gateway
from services.gateway.settings import GatewaySettings
from services.profile import app as profile
from services.profile.settings import ProfileSettings

PATIENCE_SECONDS: Final = 60.0
_END_OF_TIME: Final = 4_102_444_800_000_000
T = TypeVar("T", bound=Message)
Priors = tuple[tuple[str, float], ...]


class Clock:
    """The time of a service, in microseconds since 1970."""

    def __init__(self) -> None:
        self.micros = 0

    def __call__(self) -> int:
        return self.micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The services that hold the worlds of cases."""

    folder: Path
    playbook: Playbook
    clock: Clock
    profile: Stub
    features: Stub


class Switched:
    """A stub whose service is out of reach while ``is_down``."""

    def __init__(self, stub: Stub) -> None:
        self.is_down = False
        self._stub = stub

    def __getattr__(self, rpc: str) -> UnaryCall:
        call = getattr(self._stub, rpc)

        async def switched(
            request: Any, *, timeout: float | None = None, metadata: Sequence[tuple[str, str]] | None = None
        ) -> Any:
            if self.is_down:
                nothing = grpc.aio.Metadata()
                raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "the case says so")
            return await call(request, timeout=timeout, metadata=metadata)

        return switched


class OfVersion:
    """The feature service as it answers another version of the playbook that has the same features."""

    def __init__(self, stub: Stub, version: str) -> None:
        self._stub = stub
        self._version = version

    def __getattr__(self, rpc: str) -> UnaryCall:
        call = getattr(self._stub, rpc)

        async def asked(
            request: Any, *, timeout: float | None = None, metadata: Sequence[tuple[str, str]] | None = None
        ) -> Any:
            if isinstance(request, features_pb.BatchGetFeaturesRequest):
                of_version = features_pb.BatchGetFeaturesRequest(playbook_version=self._version)
                request = _merged(request, of_version)
            return await call(request, timeout=timeout, metadata=metadata)

        return asked


def _merged(request: T, change: T) -> T:
    merged = type(request)()
    merged.CopyFrom(request)
    merged.MergeFrom(change)
    return merged


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway, and what a case can change around it.

    ``store`` is its file.
    """

    stub: Stub
    playbook: Playbook
    store: Path
    clock: Clock
    scoring: ScriptedScoring
    dependencies: Mapping[str, Switched]

    def put_down(self, down: Iterable[str]) -> None:
        """Put services out of reach, and all others within."""
        for name, dependency in self.dependencies.items():
            dependency.is_down = name in down


class Gateways:
    """Gateways of one playbook, one for each description of a model that cases need."""

    def __init__(self, stack: AsyncExitStack, stores: Stores, playbook: Playbook, folder: Path) -> None:
        self._stack, self._stores, self._playbook, self._folder = stack, stores, playbook, folder
        self._open: dict[Priors | None, Gateway] = {}

    async def of(self, case: Case) -> Gateway:
        """Return the gateway that knows what the case's may know of the model.

        Where scoring is down and the case has no priors, no model was ever seen.
        """
        priors = tuple(sorted(case.world.priors.items()))
        key = None if "scoring" in case.world.down and not priors else priors
        if (gateway := self._open.get(key)) is None:
            gateway = self._open[key] = await self._start(key)
        return gateway

    async def _start(self, priors: Priors | None) -> Gateway:
        home = self._folder / f"gateway-{len(self._open)}"
        stores, scripted, clock = self._stores, ScriptedScoring(dict(priors or ())), Clock()
        dependencies = {
            "profile": Switched(stores.profile),
            "features": Switched(OfVersion(stores.features, stores.playbook.version)),
            "scoring": Switched(InProcessStub(scripted.service(), PATIENCE_SECONDS)),
        }
        dependencies["scoring"].is_down = priors is None
        opened = gateway.open_service(
            load(GatewaySettings, {"TACT_HOME": str(home)}),
            self._playbook,
            gateway.Stubs(**dependencies),
            now=lambda: instant(clock.micros),
        )
        service = await self._stack.enter_async_context(opened)
        await service.warm_up()
        return Gateway(
            stub=InProcessStub(service, PATIENCE_SECONDS),
            playbook=self._playbook,
            store=home / "gateway.sqlite",
            clock=clock,
            scoring=scripted,
            dependencies=dependencies,
        )


@asynccontextmanager
async def opened_stores(folder: Path, playbook: Playbook) -> AsyncIterator[Stores]:
    """Open the profile and the feature service on new files in a folder.

    Cases name their own time, so that neither service lives in that of the system. What happens after
    a decision can be on file when it is made.
    """
    environ, clock = {"TACT_HOME": str(folder)}, Clock()
    async with AsyncExitStack() as stack:
        services = [
            await stack.enter_async_context(
                profile.open_service(load(ProfileSettings, environ), playbook, clock)
            ),
            await stack.enter_async_context(
                features.open_service(load(FeatureSettings, environ), playbook, lambda: _END_OF_TIME)
            ),
        ]
        stubs = [InProcessStub(service, PATIENCE_SECONDS) for service in services]
        yield Stores(folder=folder, playbook=playbook, clock=clock, profile=stubs[0], features=stubs[1])


@asynccontextmanager
async def opened_gateways(stores: Stores, playbook: Playbook, folder: Path) -> AsyncIterator[Gateways]:
    """Keep the gateways of a playbook, or of one that differs from it in policies only."""
    async with AsyncExitStack() as stack:
        yield Gateways(stack, stores, playbook, folder)
