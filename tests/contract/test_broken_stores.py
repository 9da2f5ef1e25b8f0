"""Whatever becomes of a store's bytes, callers hear of the store and never of a defect."""

import asyncio
import random
import shutil

import grpc
import pytest
import remote
import worlds
from deciding import codes, degradations, instant, json_value, playbook, request
from google.protobuf.message import Message
from tact.decision.v1 import decision_service_pb2 as pb
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from worlds import NOON

from services.chassis.faults import error_info
from services.chassis.inprocess import InProcessStub
from services.chassis.sqlite import StoreUnavailable
from services.features import app as features_app
from services.features.settings import FeatureSettings
from services.gateway import app as gateway_app
from services.gateway.settings import GatewaySettings
from services.profile import app as profile_app
from services.profile.settings import ProfileSettings

PATIENCE_SECONDS = 20.0
ROUNDS = 60
CUSTOMERS = worlds.CUSTOMERS[:15]
PAGE_BYTES = 4_096
OPEN = {
    "features": lambda **at: features_app.open_service(FeatureSettings(**at), playbook()),
    "profile": lambda **at: profile_app.open_service(ProfileSettings(**at), playbook()),
    "gateway": lambda **at: gateway_app.open_service(GatewaySettings(**at), playbook(), remote.stubs()),
}


def service_of(name, home):
    return OPEN[name](TACT_HOME=home, port=0, metrics_port=0)


def garble(path, draw):
    """Cut a file short, or overwrite some of its pages or bytes."""
    content = bytearray(path.read_bytes())
    if not content:
        return
    with path.open("r+b") as file:
        if draw.random() < 0.2:
            file.truncate(draw.randrange(len(content)))
            return
        length = draw.choice([1, PAGE_BYTES])
        for _ in range(draw.choice([1, 5, 50])):
            place = draw.randrange(len(content)) // length * length
            file.seek(place)
            file.write(draw.choice([draw.randbytes(length), bytes(length), b"\xff" * length]))


def calls(name, stub, serial):
    """Make calls that read what was put there at first, and some that write more."""
    if name == "features":
        happened = [worlds.event(random.Random(serial), customer, serial) for customer in CUSTOMERS]
        yield stub.IngestEvents(features_pb.IngestEventsRequest(events=happened))
        for customer in CUSTOMERS:
            key = features_pb.FeatureKey(customer_id=customer)
            yield stub.BatchGetFeatures(
                features_pb.BatchGetFeaturesRequest(customers=[key], playbook_version=playbook().version)
            )
    elif name == "profile":
        yield stub.UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=map(update, CUSTOMERS)))
        consents = [
            worlds.consent(random.Random(1), customer, "care", "app", instant(NOON)) for customer in CUSTOMERS
        ]
        yield stub.RecordConsents(profile_pb.RecordConsentsRequest(records=consents))
        for customer in CUSTOMERS:
            by_id, by_card = {"customer_id": customer}, {"identity": card(customer)}
            keys = [profile_pb.CustomerKey(**key) for key in (by_id, by_card)]
            yield stub.BatchGetProfiles(profile_pb.BatchGetProfilesRequest(customers=keys))
    else:
        for number in (*range(40), serial):
            yield stub.Decide(request(request_id=f"asked-{number}"))
        told = pb.Outcome(
            outcome_id=f"o-{serial}", decision_id="d", rank=1, kind=1, outcome_time=instant(NOON)
        )
        yield stub.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=[told]))


def card(customer):
    return profile_pb.Identity(kind="card", value=f"card of {customer}")


def update(customer):
    return profile_pb.ProfileUpdate(
        customer_id=customer, attributes={"age": json_value(40)}, identities=[card(customer)]
    )


async def is_answered(call):
    """Tell whether a call was answered; all else that it may do is to say that the store is broken."""
    (answer,) = await asyncio.gather(call, return_exceptions=True)
    if isinstance(answer, grpc.aio.AioRpcError):
        # A changed byte may also make one sound value of another, such as the hash of a request.
        assert answer.code() is not grpc.StatusCode.INTERNAL
        return error_info(answer).reason != "STORE_UNAVAILABLE"
    if isinstance(answer, pb.DecideResponse) and ("DECISION_LOG", "UNAVAILABLE") in degradations(answer):
        assert codes(answer) == ["NOT_LOGGED"]
        assert not answer.actions
        return False
    assert isinstance(answer, Message)
    return True


async def use(name, home, serial, first=lambda: None):
    """Serve a store, to which something may happen first; tell whether all calls were answered."""
    async with service_of(name, home) as service:
        await service.warm_up()
        first()
        stub = InProcessStub(service, PATIENCE_SECONDS)
        return all([await is_answered(call) for call in calls(name, stub, serial)])


@pytest.fixture(scope="module", params=OPEN)
def filled(request, tmp_path_factory):
    home = tmp_path_factory.mktemp(request.param)
    assert asyncio.run(use(request.param, home, 1_000))
    return request.param, home


def test_a_store_that_breaks_while_it_is_served_is_named(filled, tmp_path):
    name, home = filled
    broken = 0
    for seed in range(ROUNDS):
        draw, copy = random.Random(seed), tmp_path / str(seed)
        shutil.copytree(home, copy)
        files = [copy / f"{name}.sqlite{suffix}" for suffix in ("", "-wal")]

        def damage(draw=draw, files=files):
            for file in files[: draw.choice([1, 2])]:
                garble(file, draw)

        broken += not asyncio.run(use(name, copy, 2_000, damage))
    assert broken >= ROUNDS / 3


def test_a_service_whose_store_is_broken_says_so_or_refuses_to_start(filled, tmp_path):
    name, home = filled
    broken = 0
    for seed in range(ROUNDS):
        copy = tmp_path / str(seed)
        shutil.copytree(home, copy)
        garble(copy / f"{name}.sqlite", random.Random(seed))
        try:
            broken += not asyncio.run(use(name, copy, 2_000))
        except StoreUnavailable as error:
            broken += f"{name}.sqlite: " in str(error)
    assert broken >= ROUNDS / 3


def test_a_store_whose_tables_are_not_what_they_were_is_named(filled, tmp_path):
    name, home = filled
    word = {"features": b"event_time", "profile": b"record_time", "gateway": b"fingerprint"}[name]
    content = (home / f"{name}.sqlite").read_bytes()
    (tmp_path / f"{name}.sqlite").write_bytes(content.replace(word, word[::-1]))
    assert not asyncio.run(use(name, tmp_path, 2_000))
