"""Writes the worlds of cases through the services that hold them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final

from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.cli.cases import schema
from services.cli.cases.moments import moment_of, value_at
from services.cli.cases.pipeline import Stores
from services.cli.cases.situations import Case, Customer
from services.cli.failure import Failure
from services.engine.arbitration.arms import arm_of
from services.engine.instants import microseconds
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.schema.attributes import AttributeType

_BATCH: Final = 5_000
# The profile service takes a refusal of the last five minutes for one of this moment.
_LATER: Final = timedelta(hours=1)


def customer_id(case: Case, name: str, playbook: Playbook) -> str:
    """Return an id that is the case's own and lies in the control arm that the case wants."""
    shares, arm = playbook.head.control_arms, case.world.customers[name].arm
    ids = (f"{name}.{case.number}" + (f".{attempt}" if attempt else "") for attempt in count())
    return next(found for found in ids if arm_of(shares, playbook.head.name, found)[0] == arm)


def identity(case: Case, kind: str, value: str) -> profile_pb.Identity:
    """Return an identity that is the case's own."""
    return profile_pb.Identity(kind=kind, value=f"{value} #{case.number}")


def json_value(raw: str | int | float | bool) -> Value:
    """Return a checked value as it is sent."""
    if isinstance(raw, bool):
        return Value(bool_value=raw)
    return Value(string_value=raw) if isinstance(raw, str) else Value(number_value=raw)


def timestamp(moment: datetime) -> Timestamp:
    """Return an instant as it is sent, exact to the microsecond."""
    micros = microseconds(moment)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


async def write(stores: Stores, cases: Iterable[Case]) -> None:
    """Put the worlds of all cases on file.

    The latest come first: the profile service lets go of borrowed values as its time goes on.

    Raises:
        Failure: a service refused something.
    """
    by_time: defaultdict[datetime, list[Case]] = defaultdict(list)
    for case in cases:
        by_time[case.now].append(case)
    for now in sorted(by_time, reverse=True):
        people = [
            (case, customer_id(case, name, stores.playbook), customer)
            for case in by_time[now]
            for name, customer in case.world.customers.items()
        ]
        await _write(stores, now, people)


async def _write(stores: Stores, now: datetime, people: Sequence[tuple[Case, str, Customer]]) -> None:
    playbook, profile, features = stores.playbook, stores.profile, stores.features
    stores.clock.micros = microseconds(now)
    updates = [(case, found) for case, key, one in people for found in _updates(case, key, one, playbook)]
    await _send(
        updates, lambda found: profile.UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=found))
    )
    stores.clock.micros = microseconds(now + _LATER)
    records = [(case, found) for case, key, one in people for found in _records(case, key, one)]
    await _send(
        records, lambda found: profile.RecordConsents(profile_pb.RecordConsentsRequest(records=found))
    )
    stores.clock.micros = microseconds(now)
    events = [(case, found) for case, key, one in people for found in _events(case, key, one, playbook)]
    await _send(events, lambda found: features.IngestEvents(features_pb.IngestEventsRequest(events=found)))


async def _send(items: Sequence[tuple[Case, Any]], call: Callable[[Sequence[Any]], Awaitable[Any]]) -> None:
    for start in range(0, len(items), _BATCH):
        batch = items[start : start + _BATCH]
        answer = await call([item for _, item in batch])
        for (case, _), result in zip(batch, answer.results, strict=True):
            if result.HasField("error"):
                raise Failure(f"{case}: its world cannot be written: {result.error.message}")


def _updates(case: Case, key: str, one: Customer, playbook: Playbook) -> Iterator[profile_pb.ProfileUpdate]:
    """Yield one update with the identities, and one for each time and source of values."""
    identities = [identity(case, kind, value) for kind, value in one.identities.items()]
    yield profile_pb.ProfileUpdate(customer_id=key, identities=identities)
    for name, known in one.attributes.items():
        yield profile_pb.ProfileUpdate(
            customer_id=key,
            attributes={name: _value(playbook.profile.attributes[name], known.value, case.now)},
            record_time=timestamp(moment_of(known.recorded, case.now)),
            source=known.source,
        )


def _records(case: Case, key: str, one: Customer) -> Iterator[profile_pb.ConsentRecord]:
    for (purpose, channel), stated in one.consents.items():
        yield profile_pb.ConsentRecord(customer_id=key, consent=_consent(case, key, purpose, channel, stated))


def _consent(case: Case, key: str, purpose: str, channel: str, stated: schema.Stated) -> profile_pb.Consent:
    expires = stated.expires
    return profile_pb.Consent(
        receipt_id=f"{key}/{purpose}/{channel}",
        purpose=purpose,
        channel=channel,
        state=profile_pb.ConsentState.Value(f"CONSENT_STATE_{stated.state.upper()}"),
        record_time=timestamp(moment_of(stated.recorded, case.now)),
        expire_time=None if expires is None else timestamp(moment_of(expires, case.now)),
        source=schema.CASE,
    )


def _events(case: Case, key: str, one: Customer, playbook: Playbook) -> Iterator[features_pb.Event]:
    for index, event in enumerate(one.events):
        declared = playbook.events.events[event.type].attributes
        attributes = {name: _value(declared[name], raw, case.now) for name, raw in event.attributes.items()}
        yield features_pb.Event(
            event_id=f"{key}/{index}",
            customer_id=key,
            type=event.type,
            event_time=timestamp(moment_of(event.at, case.now)),
            attributes=attributes,
        )


def _value(declared: AttributeType, raw: object, now: datetime) -> Value:
    return json_value(value_at(declared, raw, now))
