"""Streams profiles, consents and events into the services, durably."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.chassis.clients import GrpcStub, channel
from services.cli.demo.progress import Steps, bar
from services.cli.failure import Failure
from training.data.completejourney import CompleteJourney, HouseholdEvent

BATCH = 2_000
IN_FLIGHT = 3
TIMEOUT_SECONDS = 60.0
_BEFORE_ALL = datetime(2016, 1, 1, tzinfo=UTC)
_PROFILES = profile_pb.DESCRIPTOR.services_by_name["ProfileService"]
_FEATURES = features_pb.DESCRIPTOR.services_by_name["FeatureService"]

T = TypeVar("T")


async def run(data: CompleteJourney, ports: Mapping[str, int], steps: Steps, console: Console) -> None:
    """Ingest everything, unless it is there already; ingesting twice changes nothing."""
    async with (
        channel(f"127.0.0.1:{ports['profile']}", _PROFILES) as to_profile,
        channel(f"127.0.0.1:{ports['features']}", _FEATURES) as to_features,
    ):
        profile = GrpcStub(to_profile, _PROFILES, TIMEOUT_SECONDS)
        features = GrpcStub(to_features, _FEATURES, TIMEOUT_SECONDS)
        known = await features.DescribeFeatures(features_pb.DescribeFeaturesRequest())
        mailed = sorted({str(household) for household in data.mailings["household_id"]})
        last = profile_pb.BatchGetProfilesRequest(customers=[profile_pb.CustomerKey(customer_id=mailed[-1])])
        on_file = (await profile.BatchGetProfiles(last)).results[0].profile
        done = steps.result("ingest", data.identity)
        if done is not None and known.sequence >= int(done) and on_file.consents:
            console.print(f"events are ingested already: {done}")
            return
        with bar(console) as progress:
            task = progress.add_task("Read the tables", total=1)
            profiles, events = list(data.profiles()), list(data.events())
            progress.advance(task)

            async def send(name: str, items: list[Any], call: Callable[[list[Any]], Awaitable[Any]]) -> None:
                task = progress.add_task(name, total=len(items))
                for batches in _batches(_batches(items, BATCH), IN_FLIGHT):
                    await asyncio.gather(*(call(batch) for batch in batches))
                    progress.advance(task, sum(len(batch) for batch in batches))

            await send("Profiles", profiles, lambda batch: _upsert(profile, batch))
            await send("Consents (synthetic)", mailed, lambda batch: _consent(profile, batch))
            await send("Events", events, lambda batch: _ingest(features, batch))
        steps.finish("ingest", data.identity, str(len(events)))


async def _upsert(profile: GrpcStub, households: list[tuple[str, dict[str, str]]]) -> None:
    updates = [
        profile_pb.ProfileUpdate(
            customer_id=household,
            attributes={name: Value(string_value=value) for name, value in attributes.items()},
            identities=[profile_pb.Identity(kind="loyalty_card", value=f"card-{household}")],
            record_time=_timestamp(_BEFORE_ALL),
            source="completejourney",
        )
        for household, attributes in households
    ]
    _all_well(await profile.UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=updates)))


async def _consent(profile: GrpcStub, households: list[str]) -> None:
    records = [
        profile_pb.ConsentRecord(
            customer_id=household,
            consent=profile_pb.Consent(
                receipt_id=f"synthetic-{household}",
                purpose="marketing",
                channel="mail",
                state=profile_pb.CONSENT_STATE_GRANTED,
                record_time=_timestamp(_BEFORE_ALL),
                source="synthetic, for the demo",
            ),
        )
        for household in households
    ]
    _all_well(await profile.RecordConsents(profile_pb.RecordConsentsRequest(records=records)))


async def _ingest(features: GrpcStub, events: list[HouseholdEvent]) -> None:
    request = features_pb.IngestEventsRequest(events=[_event(event) for event in events])
    _all_well(await features.IngestEvents(request))


def _event(event: HouseholdEvent) -> features_pb.Event:
    seconds, micros = divmod(event.event_time, 1_000_000)
    return features_pb.Event(
        event_id=event.event_id,
        customer_id=event.customer_id,
        type=event.type,
        event_time=Timestamp(seconds=seconds, nanos=micros * 1000),
        attributes={name: _value(value) for name, value in event.attributes.items()},
    )


def _value(value: str | float | bool) -> Value:
    if isinstance(value, bool):
        return Value(bool_value=value)
    return Value(string_value=value) if isinstance(value, str) else Value(number_value=value)


def _all_well(response: Any) -> None:
    for result in response.results:
        if result.WhichOneof("result") == "error":
            raise Failure(f"an item was refused: {result.error.message}")


def _timestamp(moment: datetime) -> Timestamp:
    return Timestamp(seconds=int(moment.timestamp()))


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
