"""What training sees is what serving served: the same rows from the stores and from the services."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import databases
import numpy as np
import pytest
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import SecretStr
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.chassis.clients import Stub
from services.chassis.inprocess import InProcessStub
from services.engine.features.feature_set import FeatureSet
from services.engine.instants import instant, local_time
from services.engine.playbook.loader import load, shipped
from services.features import app as features_app
from services.features.settings import FeatureSettings
from services.gateway.adapters.stubs import StubFeatures, StubProfiles
from services.gateway.domain.knowledge import Model
from services.gateway.domain.request import CustomerKey
from services.gateway.domain.scoring import matrices
from services.profile import app as profile_app
from services.profile.settings import ProfileSettings
from tests import pasts
from training.data.dataset import Dataset
from training.jobs.dataset import DatasetConfig, Exposures, run
from training.refusal import Refused

PLAYBOOK = load(shipped("retail"))
CUSTOMERS = [f"c{number}" for number in range(12)]
CAMPAIGNS = {"campaign-8": "A", "campaign-9": "B", "campaign-13": "A"}
BANDS = ("19-24", "25-34", "65+")
FIRST = datetime(2017, 3, 1, tzinfo=UTC)
SPAN = timedelta(days=200)
LINKS = [("c0", "c1"), ("c3", "c2"), ("c3", "c4"), ("c6", "c5"), ("c7", "c6"), ("c8", "c9")]
UNLINKS = ["c4", "c9"]


def stamp(moment: datetime) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(moment)
    return time


def text(**values: str) -> dict[str, Value]:
    return {name: Value(string_value=value) for name, value in values.items()}


def events(draw: random.Random) -> list[features_pb.Event]:
    """Purchases at any time, mailings at the campaigns' starts, redemptions around their ends."""
    made = []

    def add(customer: str, kind: str, moment: datetime, attributes: dict[str, Value]) -> None:
        made.append(
            features_pb.Event(
                event_id=f"e{len(made)}",
                customer_id=customer,
                type=kind,
                event_time=stamp(moment),
                attributes=attributes,
            )
        )

    starts = {campaign: PLAYBOOK.validity[campaign] for campaign in CAMPAIGNS}
    for customer in CUSTOMERS:
        for _ in range(draw.randint(0, 40)):
            amounts = {
                name: Value(number_value=draw.randint(0, 9999) / 100) for name in ("amount", "discount")
            }
            numbers = {name: Value(number_value=draw.randint(0, 3)) for name in ("quantity", "coupon_lines")}
            words = text(
                basket=f"b{draw.randint(0, 20)}", department=draw.choice(["GROCERY", "MEAT", "DELI"])
            )
            flag = {"with_coupon": Value(bool_value=draw.random() < 0.5)}
            moment = FIRST + SPAN * draw.random()
            chosen = draw.choice([moment, *(start for start, _ in starts.values() if start)])
            add(customer, "purchase", chosen, {**amounts, **numbers, **words, **flag})
        for campaign, (start, end) in starts.items():
            assert start is not None
            assert end is not None
            attributes = text(campaign=campaign, campaign_type=CAMPAIGNS[campaign])
            add(customer, "campaign_mailed", start, attributes)
            for moment in (start, end - timedelta(days=1), end):
                if draw.random() < 0.3:
                    add(customer, "coupon_redeemed", moment, attributes)
    draw.shuffle(made)
    return made


def profiles(draw: random.Random) -> list[profile_pb.ProfileUpdate]:
    """Attributes that become known, change and become missing again in the course of time."""
    return [
        profile_pb.ProfileUpdate(
            customer_id=customer,
            attributes={
                "age_band": draw.choice([Value(string_value=draw.choice(BANDS)), Value(null_value=0)]),
                **text(kids_count=draw.choice(["0", "3+"])),
            },
            record_time=stamp(FIRST + SPAN * draw.random()),
        )
        for customer in CUSTOMERS
        for _ in range(draw.randint(0, 4))
    ]


def fill(home: Path, happened: list[features_pb.Event], known: list[profile_pb.ProfileUpdate]) -> None:
    """Leave in a home what both services keep of this, with some customers linked."""

    async def run() -> None:
        async with (
            profile_app.open_service(
                ProfileSettings(home=home, identity_lease_seconds=0.1), PLAYBOOK
            ) as profile,
            features_app.open_service(FeatureSettings(home=home), PLAYBOOK) as feature,
        ):
            to_profile, to_features = InProcessStub(profile, 30.0), InProcessStub(feature, 30.0)
            await file(to_profile, to_features, happened, known)

    asyncio.run(run())


async def file(
    to_profile: Stub,
    to_features: Stub,
    happened: list[features_pb.Event],
    known: list[profile_pb.ProfileUpdate],
) -> None:
    """Send it."""
    ingested = await to_features.IngestEvents(features_pb.IngestEventsRequest(events=happened))
    upserted = await to_profile.UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=known))
    assert not [r for r in (*ingested.results, *upserted.results) if r.HasField("error")]
    await pasts.file_with(to_profile, CUSTOMERS, links=LINKS, unlinks=UNLINKS)


@pytest.mark.parametrize("kept_in", ["files", "postgresql"])
def test_a_dataset_row_equals_the_vector_served_at_that_time(kept_in: str, tmp_path: Path) -> None:
    draw = random.Random(7)
    features = FeatureSet(PLAYBOOK)
    url = "" if kept_in == "files" else databases.emptied(databases.shared_postgresql())
    store = SecretStr(url)
    config = DatasetConfig(
        playbook=shipped("retail"),
        home=tmp_path,
        features_store=store,
        profile_store=store,
        exposures=Exposures(event="campaign_mailed", action="campaign"),
        as_of_time=datetime(2017, 12, 1, tzinfo=UTC),
        output=tmp_path / "dataset",
    )
    quick = ProfileSettings(home=tmp_path, store=store, identity_lease_seconds=0.1)
    members = {}

    async def compare() -> int:
        async with (
            profile_app.open_service(quick, PLAYBOOK) as profile,
            features_app.open_service(FeatureSettings(home=tmp_path, store=store), PLAYBOOK) as feature,
        ):
            to_profile, to_features = InProcessStub(profile, 30.0), InProcessStub(feature, 30.0)
            await file(to_profile, to_features, events(draw), profiles(draw))
            dataset = run(config)
            model = Model(
                version="1",
                fingerprint=dataset.schema_fingerprint,
                layout=tuple((f.name, f.definition_hash, f.candidate) for f in dataset.features),
                priors={},
                overall_prior=0.1,
            )
            reader = StubFeatures(to_features, PLAYBOOK, features)
            profile_reader = StubProfiles(to_profile, PLAYBOOK)
            for row in dataset.frame.to_dict("records"):
                at = instant(row["exposure_time"])
                on_file = await profile_reader.read(CustomerKey(customer_id=row["customer_id"]), at, 30.0)
                served = await reader.read(on_file.members, at, [row["action_id"]], 0, 30.0)
                assert on_file.customer_id == row["customer_id"]
                members[row["customer_id"]] = len(on_file.members)
                computed = features.profile_values(on_file.attributes)
                computed |= features.context_values({}, local_time([at]))
                candidate = {
                    **features.action_values(row["action_id"]),
                    **served.candidates[row["action_id"]],
                }
                customer, candidates = matrices(model, {**computed, **served.customer}, [candidate])
                online = np.concatenate([customer, candidates[0]])
                offline = np.array([row[name] for name in dataset.feature_names])
                assert online.tobytes() == offline.tobytes(), row
            return len(dataset.frame)

    assert asyncio.run(compare()) == len(CUSTOMERS) * len(CAMPAIGNS)
    assert (tmp_path / "features.sqlite").exists() is (kept_in == "files")
    assert sorted(members.values()) == [1, 1, 1, 1, 1, 2, 2, 3]


def test_a_label_counts_the_outcome_from_the_exposure_until_the_window_closes(tmp_path: Path) -> None:
    start, end = PLAYBOOK.validity["campaign-9"]
    assert start is not None
    assert end is not None
    redeemed = {
        "before": start - timedelta(microseconds=1),
        "at-start": start,
        "last-moment": end - timedelta(microseconds=1),
        "at-end": end,
        "other-campaign": start,
    }
    made = []
    for customer, moment in redeemed.items():
        mailed = text(campaign="campaign-9", campaign_type="B")
        other = text(campaign="campaign-13", campaign_type="A")
        for kind, time, attributes in (
            ("campaign_mailed", start, mailed),
            ("coupon_redeemed", moment, other if customer == "other-campaign" else mailed),
        ):
            made.append(
                features_pb.Event(
                    event_id=f"{customer}-{kind}",
                    customer_id=customer,
                    type=kind,
                    event_time=stamp(time),
                    attributes=attributes,
                )
            )

    async def build(as_of: datetime) -> Dataset:
        async with (
            profile_app.open_service(ProfileSettings(home=tmp_path), PLAYBOOK),
            features_app.open_service(FeatureSettings(home=tmp_path), PLAYBOOK) as feature,
        ):
            stub = InProcessStub(feature, 30.0)
            await stub.IngestEvents(features_pb.IngestEventsRequest(events=made))
            return run(
                DatasetConfig(
                    playbook=shipped("retail"),
                    home=tmp_path,
                    exposures=Exposures(event="campaign_mailed", action="campaign"),
                    as_of_time=as_of,
                    output=tmp_path / "dataset",
                )
            )

    with pytest.raises(Refused, match="no exposure has closed"):
        asyncio.run(build(end - timedelta(microseconds=1)))
    frame = asyncio.run(build(end)).frame
    labels = dict(zip(frame["customer_id"], frame["label"], strict=True))
    assert labels == {
        "before": 0,
        "at-start": 1,
        "last-moment": 1,
        "at-end": 0,
        "other-campaign": 0,
    }
