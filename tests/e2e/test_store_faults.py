"""Stores that are locked, full or broken: who reads or writes is told in time, and nothing is half done."""

import asyncio
from pathlib import Path

import grpc
import pytest
import worlds
from deciding import codes, degradations, instant, served_by
from tact.decision.v1 import decision_service_pb2 as pb
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from trouble import DEADLINE_SECONDS, PATIENCE_SECONDS, STORES, World, full, locked, opened, small_disk
from worlds import CUSTOMERS, NOON

from services.chassis.faults import error_info

WITHOUT_SCORING = ("profile", "features")
NO_SCORES = [("SCORING", "UNAVAILABLE")]
LOG_IS_LOST = ("DECISION_LOG", "UNAVAILABLE")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return worlds.write_shop(tmp_path_factory.mktemp("shop") / "playbook")


@pytest.fixture(scope="module")
def world(tmp_path_factory, shop):
    home = tmp_path_factory.mktemp("home")
    with opened(worlds.Processes(home, shop, names=WITHOUT_SCORING), NO_SCORES) as world:
        yield world


def writes(stubs, name, decision_id, **options):
    """Write to every store under a name; returns the calls by the service and the RPC."""
    update = profile_pb.ProfileUpdate(customer_id=name, record_time=instant(NOON))
    receipt = profile_pb.Consent(
        receipt_id=name,
        purpose="care",
        channel="app",
        state="CONSENT_STATE_GRANTED",
        record_time=instant(NOON),
    )
    record = profile_pb.ConsentRecord(customer_id=CUSTOMERS[0], consent=receipt)
    happened = features_pb.Event(event_id=name, customer_id=name, type="complaint", event_time=instant(NOON))
    outcome = pb.Outcome(outcome_id=name, decision_id=decision_id, rank=1, kind=1, outcome_time=instant(NOON))
    requests = {
        ("profile", "UpsertProfiles"): profile_pb.UpsertProfilesRequest(updates=[update]),
        ("profile", "RecordConsents"): profile_pb.RecordConsentsRequest(records=[record]),
        ("features", "IngestEvents"): features_pb.IngestEventsRequest(events=[happened]),
        ("gateway", "RecordOutcomes"): pb.RecordOutcomesRequest(outcomes=[outcome]),
    }
    return {
        (service, rpc): getattr(stubs[service], rpc)(asked, **options)
        for (service, rpc), asked in requests.items()
    }


async def refusal(call):
    """Return what a call says that fails for want of a store."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(raised.value).reason == "STORE_UNAVAILABLE"
    return raised.value.details()


async def known(stubs, name, decision_id):
    """Write everything under a name; tell of each whether it was there before."""
    key = profile_pb.CustomerKey(customer_id=name)
    found = await stubs["profile"].BatchGetProfiles(profile_pb.BatchGetProfilesRequest(customers=[key]))
    _, *written = await asyncio.gather(*writes(stubs, name, decision_id).values())
    return [found.results[0].profile.found, *(answer.results[0].accepted.duplicate for answer in written)]


async def suffer(world, fault, name):
    """Write everything while a fault lasts and once it is over; return what each store said to it.

    Everything is refused in time, nothing of it is done later, and all of it may be sent again.
    """
    stubs = world.services.stubs
    decided = (await world.live()).decision_id
    with fault:
        refused = writes(stubs, name, decided, timeout=DEADLINE_SECONDS)
        answer, *texts = await asyncio.gather(world.live(request_id=name), *map(refusal, refused.values()))
    assert (served_by(answer), codes(answer)) == ("NOTHING", ["NOT_LOGGED"])
    assert degradations(answer) == [*world.usual, ("DECISION_LOG", "UNAVAILABLE")]
    # Writes are done in order, so whatever becomes of the refused ones is decided before others are.
    await asyncio.gather(world.live(), *writes(stubs, f"{name} after", decided).values())
    assert await known(stubs, name, decided) == [False] * 4
    assert await known(stubs, name, decided) == [True] * 4
    again = await world.live(request_id=name)
    assert again.decision_id == answer.decision_id
    assert again.actions
    assert await world.live(request_id=name) == again
    files = ["gateway", *(service for service, _ in refused)]
    return zip(files, [answer.degradations[-1].detail, *texts], strict=True)


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_locked_store_is_named_in_time_and_what_was_refused_is_not_done_later(world, how):
    fault = locked(world.services.home, how)
    for file, text in world.run(suffer(world, fault, f"locked {how}")):
        assert f"{file}.sqlite: no turn to write in time" in text


def test_a_locked_store_is_named_in_time_in_one_process_too(tmp_path, shop):
    world = World(worlds.OneProcess(tmp_path, shop, None), NO_SCORES)

    async def exercise():
        async with world.services as services:
            await worlds.populate(services.stubs["profile"], services.stubs["features"])
            return await suffer(world, locked(tmp_path, "IMMEDIATE"), "locked")

    with world.runner:
        for file, text in world.run(exercise()):
            assert f"{file}.sqlite: no turn to write in time" in text


def test_a_store_that_is_unlocked_in_time_is_waited_for(world):
    async def exercise():
        with locked(world.services.home, "IMMEDIATE"):
            deciding = []
            # What the writer has taken already, to wait for the file with it, does not show.
            while not await world.sample("tact_gateway_waiting_writes"):
                deciding.append(asyncio.create_task(world.live(timeout=PATIENCE_SECONDS)))
        return await asyncio.gather(*deciding)

    assert all(answer.actions for answer in world.run(exercise()))


def test_a_full_disk_is_named_and_nothing_is_half_done(tmp_path, shop):
    home = tmp_path / "home"
    home.mkdir()
    services = worlds.Processes(home, shop, names=WITHOUT_SCORING, launcher=small_disk(megabytes=8))
    with opened(services, NO_SCORES) as world:
        disks = [Path(f"/proc/{services.pid(name)}/root{home}") for name in STORES]
        for file, text in world.run(suffer(world, full(disks), "full")):
            assert f"{file}.sqlite: database or disk is full" in text


@pytest.mark.parametrize("name", STORES)
def test_a_service_refuses_to_start_on_a_broken_store_and_names_it(name, tmp_path, shop):
    (tmp_path / f"{name}.sqlite").write_bytes(b"no database at all" * 1_000)
    services = worlds.Processes(tmp_path, shop, names=())

    async def main():
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(AssertionError):
                await services.start(name)
            return await services.ended(name)

    assert asyncio.run(main()) == 1
    assert services.log == [f"{name} cannot start: {name}.sqlite: file is not a database\n"]
