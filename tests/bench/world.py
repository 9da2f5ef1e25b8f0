"""Builds what is measured on: a playbook, customers with a past in two homes, and a model."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import grpc
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from tact.scoring.v1 import scoring_service_pb2 as scoring_pb

from bench.learning import MODEL_NAME, tracking_uri
from bench.population import PLAYBOOK, Population
from bench.recording import SERVICES
from bench.targets import Home, Target, serve
from services.chassis.clients import GrpcStub, channel

_BATCH = 2_000
_MOST_CUSTOMERS = 1_000
_TIMEOUT_SECONDS = 120.0
_MODEL_SECONDS = 120.0
_POLL_SECONDS = 0.1

T = TypeVar("T")


class Refused(Exception):
    """A service did not take an item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Two homes with equal stores, one for each way to run Tact, and no model yet."""

    population: Population
    homes: tuple[Home, Home]
    events: int


def populate(folder: Path, population: Population) -> World:
    """Ingest customers, consents and events over gRPC."""
    one, four = (
        Home(
            folder=folder / name,
            playbook=PLAYBOOK,
            model_name=MODEL_NAME,
            tracking_uri=tracking_uri(folder / "one"),
        )
        for name in ("one", "four")
    )
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(one, name, folder)) for name in ("profile", "features")]
        ports = {server.name: server.services[server.name].port for server in servers}
        events = asyncio.run(_ingest(population, ports))
    shutil.copytree(one.folder, four.folder)
    return World(population=population, homes=(one, four), events=events)


async def warm(target: Target, population: Population, model_version: str) -> None:
    """Wait for the model, and read every customer once, so that their histories are in memory.

    Raises:
        Refused: another model is served, or none for long.
    """
    async with AsyncExitStack() as stack:
        scoring = await _stub(stack, "scoring", target.services["scoring"].port)
        await _await_model(scoring, model_version)
        stub = await _stub(stack, "features", target.services["features"].port)
        for ids in _batches(population.ids, _MOST_CUSTOMERS):
            keys = [features_pb.FeatureKey(customer_id=customer_id) for customer_id in ids]
            version = population.playbook.version
            await stub.BatchGetFeatures(
                features_pb.BatchGetFeaturesRequest(customers=keys, playbook_version=version)
            )


async def _await_model(scoring: GrpcStub, version: str) -> None:
    found = ""
    deadline = time.monotonic() + _MODEL_SECONDS
    while time.monotonic() < deadline:
        try:
            found = (await scoring.GetModel(scoring_pb.GetModelRequest())).model_version
        except grpc.aio.AioRpcError as error:
            found = str(error.details())
        if found == version:
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise Refused(f"scoring does not serve model version {version}: {found}")


async def _ingest(population: Population, ports: dict[str, int]) -> int:
    async with AsyncExitStack() as stack:
        profile = await _stub(stack, "profile", ports["profile"])
        features = await _stub(stack, "features", ports["features"])
        for updates in _batches(population.profiles(), _BATCH):
            _all_well(await profile.UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=updates)))
        for records in _batches(population.consents(), _BATCH):
            _all_well(await profile.RecordConsents(profile_pb.RecordConsentsRequest(records=records)))
        count = 0
        for events in _batches(population.events(), _BATCH):
            _all_well(await features.IngestEvents(features_pb.IngestEventsRequest(events=events)))
            count += len(events)
        return count


async def _stub(stack: AsyncExitStack, name: str, port: int) -> GrpcStub:
    descriptor, _ = SERVICES[name]
    opened = await stack.enter_async_context(channel(f"127.0.0.1:{port}", descriptor))
    return GrpcStub(opened, descriptor, _TIMEOUT_SECONDS)


def _all_well(response: Any) -> None:
    for result in response.results:
        if result.WhichOneof("result") == "error":
            raise Refused(result.error.message)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
