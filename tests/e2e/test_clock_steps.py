"""The wall clock of running services is stepped by hours: time limits hold, and nothing is of the future."""

import asyncio
import contextlib
import json
import sqlite3
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import worlds
from clocks import SteppedClock
from deciding import degradations, instant, request
from google.rpc import error_details_pb2, status_pb2
from tact.features.v1 import feature_service_pb2 as features_pb
from trouble import opened, paused
from worlds import CUSTOMERS

from services.chassis.faults import STATUS_DETAILS_KEY

HOURS = 6


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    return SteppedClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def world(tmp_path_factory, clock):
    folder = tmp_path_factory.mktemp("world")
    shop = worlds.write_shop(folder / "shop")
    services = worlds.Processes(folder / "home", shop, names=("profile", "features"), environ=clock.environ)
    with opened(services, [("SCORING", "UNAVAILABLE")]) as world:
        yield world
        clock.step(hours=0)
    durations = [json.loads(line)["duration_ms"] for line in world.services.log if '"duration_ms"' in line]
    assert durations
    assert all(0 <= duration < 10_000 for duration in durations)


def fields(error):
    """Name the fields that a refused request breaks the contract with."""
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())[STATUS_DETAILS_KEY])
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    return {violation.field for violation in bad.field_violations}


either_way = pytest.mark.parametrize("hours", [HOURS, -HOURS], ids=["ahead", "back"])


@either_way
def test_a_step_amid_a_decision_leaves_its_deadline_and_its_timings_alone(world, clock, hours):
    card = ("card", f"card of {CUSTOMERS[0]}")
    services = world.services

    async def exercise():
        clock.step(hours=0)
        started = asyncio.get_running_loop().time()
        # Features are asked once profile has told whose card it is, with the clock stepped in between.
        with paused(services, "features"):
            with paused(services, "profile"):
                deciding = asyncio.create_task(world.live(identity=card, timeout=4.0))
                while not await world.sample("grpc_server_in_flight", grpc_method="Decide"):
                    pass
                clock.step(hours=hours)
            answer = await deciding
        return answer, asyncio.get_running_loop().time() - started

    answer, elapsed = world.run(exercise())
    assert degradations(answer) == [("FEATURES", "TIMEOUT"), ("SCORING", "UNAVAILABLE")]
    assert answer.actions
    stages = [timing.duration.ToTimedelta() for timing in answer.timings]
    assert min(stages) >= timedelta()
    assert sum(stages, timedelta()) <= answer.total_duration.ToTimedelta() < timedelta(seconds=elapsed)


@either_way
def test_a_caller_whose_clock_differs_is_told_which_field_is_wrong(world, clock, hours):
    happened = features_pb.Event(
        event_id="e", customer_id="c", type="complaint", event_time=instant(datetime.now(UTC))
    )

    async def exercise():
        clock.step(hours=hours)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await world.services.stubs["gateway"].Decide(request(CUSTOMERS[0], at=datetime.now(UTC)))
        ingested = await world.services.stubs["features"].IngestEvents(
            features_pb.IngestEventsRequest(events=[happened])
        )
        return refused.value, ingested.results[0]

    refused, ingested = world.run(exercise())
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert fields(refused) == {"decision_time"}
    said = {violation.field for violation in ingested.error.field_violations}
    assert said == ({"event_time"} if hours < 0 else set())


def test_what_was_answered_stands_while_the_clock_steps_and_is_kept_in_order(world, clock):
    async def exercise():
        clock.step(hours=0)
        first = await world.live(request_id="stands")
        answers = [first]
        for hours in (HOURS, -HOURS, 23, -30 * 24):
            clock.step(hours=hours)
            answers.append(await world.live())
            assert await world.live(request_id="stands") == first
        clock.step(hours=25)
        with pytest.raises(grpc.aio.AioRpcError) as expired:
            await world.live(request_id="stands")
        clock.step(hours=0)
        assert await world.live(request_id="stands") == first
        return [answer.decision_id for answer in answers], expired.value

    decided, expired = world.run(exercise())
    assert expired.code() is grpc.StatusCode.FAILED_PRECONDITION
    with contextlib.closing(sqlite3.connect(world.services.home / "gateway.sqlite")) as store:
        logged = [each for (each,) in store.execute("SELECT decision_id FROM decisions ORDER BY rowid")]
    assert [decision_id for decision_id in logged if decision_id in decided] == decided


def test_features_read_before_the_clock_went_back_are_of_the_future(world, clock):
    async def exercise():
        sequences = []
        for hours, customer in zip((0, -HOURS, HOURS, 25), CUSTOMERS[1:], strict=False):
            clock.step(hours=0)
            await world.live(customer)
            clock.step(hours=hours)
            with paused(world.services, "features"):
                sequences.append((await world.live(customer)).as_of_sequence)
        return sequences

    now, back, ahead, too_old = world.run(exercise())
    assert now
    assert now == ahead
    assert not back
    assert not too_old


def test_no_metric_runs_backwards_while_the_clock_does(world, clock):
    names = (
        "tact_decision_seconds_sum",
        "tact_decision_feature_age_seconds_sum",
        "grpc_server_handling_seconds_sum",
    )

    async def sums():
        return [await world.sample(name) for name in names]

    async def exercise():
        seen = [await sums()]
        for hours in (HOURS, 0, -HOURS, 0):
            clock.step(hours=hours)
            await world.live()
            seen.append(await sums())
        return seen

    for before, after in zip(seen := world.run(exercise()), seen[1:], strict=False):
        assert all(0 <= earlier <= later for earlier, later in zip(before, after, strict=True))
