"""Gateways on PostgreSQL: what one decided another repeats, and a store that fails is named in time."""

import asyncio
import contextlib

import databases
import pytest
import worlds
from crowds import Beside
from deciding import codes, degradations, instant, served_by
from detours import Detour
from tact.decision.v1 import decision_service_pb2 as pb
from trouble import PATIENCE_SECONDS, opened
from worlds import CUSTOMERS, NOON

NO_SCORES = [("SCORING", "UNAVAILABLE")]
LOG_IS_LOST = ("DECISION_LOG", "UNAVAILABLE")


class Stored(worlds.Processes):
    """A gateway that reaches its store by a detour."""

    def __init__(self, home, playbook_folder, url):
        self.store = Detour(5432)
        self.url = url
        self._arguments = home, playbook_folder
        self._opened = contextlib.AsyncExitStack()

    async def __aenter__(self):
        await self._opened.enter_async_context(self.store)
        environ = {"TACT_GATEWAY_STORE": databases.by_way_of(self.url, port=self.store.port)}
        super().__init__(*self._arguments, names=("profile", "features"), environ=environ)
        return await super().__aenter__()

    async def __aexit__(self, *failure):
        await super().__aexit__(*failure)
        await self._opened.aclose()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return worlds.write_shop(tmp_path_factory.mktemp("shop") / "playbook")


@pytest.fixture(scope="module")
def world(tmp_path_factory, shop):
    with databases.postgresql() as url:
        home = tmp_path_factory.mktemp("home")
        with opened(Stored(home, shop, url), NO_SCORES) as world:
            yield world
        assert not (home / "gateway.sqlite").exists()


async def told(world, outcome_id, decision_id):
    """Tell an outcome; return whether it was told before."""
    outcome = pb.Outcome(
        outcome_id=outcome_id, decision_id=decision_id, rank=1, kind=1, outcome_time=instant(NOON)
    )
    asked = pb.RecordOutcomesRequest(outcomes=[outcome])
    return (await world.services.stubs["gateway"].RecordOutcomes(asked)).results[0].accepted.duplicate


def test_what_one_gateway_decided_another_repeats_and_explains(world, shop, tmp_path):
    async def exercise():
        answer = await world.live(request_id="shared")
        assert answer.actions
        assert not await told(world, "o-1", answer.decision_id)
        environ = {"TACT_GATEWAY_STORE": world.services.url}
        async with Beside(world.services, tmp_path, shop, environ=environ) as other:
            first, world.services.stubs["gateway"] = world.services.stubs["gateway"], other.stubs["gateway"]
            try:
                assert await world.live(request_id="shared") == answer
                assert await told(world, "o-1", answer.decision_id)
                asked = pb.ExplainDecisionRequest(decision_id=answer.decision_id)
                story = await other.stubs["gateway"].ExplainDecision(asked)
                assert [outcome.outcome_id for outcome in story.outcomes] == ["o-1"]
            finally:
                world.services.stubs["gateway"] = first

    world.run(exercise())


def test_what_was_answered_survives_the_gateway(world):
    async def exercise():
        answers = {f"kept-{number}": await world.live(request_id=f"kept-{number}") for number in range(5)}
        await world.services.stop("gateway")
        await world.services.start("gateway")
        await world.recovered()
        for request_id, answer in answers.items():
            assert await world.live(request_id=request_id) == answer

    world.run(exercise())


def test_connections_that_end_under_load_lose_no_decision(world):
    async def exercise():
        async def end_connections():
            for _ in range(20):
                await asyncio.sleep(0.05)
                await asyncio.to_thread(databases.terminate, world.services.url)

        async def decide(worker):
            return [
                (request_id, await world.live(CUSTOMERS[worker], request_id=request_id, timeout=10.0))
                for request_id in (f"ended-{worker}-{number}" for number in range(10))
            ]

        _, *decided = await asyncio.gather(end_connections(), *map(decide, range(8)))
        given = [pair for pairs in decided for pair in pairs]
        # Who was cut off in the midst of a commit is answered that nothing may have been written.
        logged = [(request_id, answer) for request_id, answer in given if codes(answer) != ["NOT_LOGGED"]]
        assert len(logged) > len(given) * 0.8
        for request_id, answer in logged:
            customer = CUSTOMERS[int(request_id.split("-")[1])]
            assert await world.live(customer, request_id=request_id) == answer

    world.run(exercise())


def test_a_store_that_falls_silent_is_named_in_time_and_what_was_refused_is_not_done_later(world):
    async def exercise():
        world.services.store.hold()
        try:
            answers = await asyncio.gather(*(world.live(request_id=f"silent-{n}") for n in range(20)))
        finally:
            world.services.store.release()
        for answer in answers:
            assert (served_by(answer), codes(answer)) == ("NOTHING", ["NOT_LOGGED"])
            assert LOG_IS_LOST in degradations(answer)
            detail = answer.degradations[-1].detail
            assert "PostgreSQL tact_test_" in detail
            assert "127.0.0.1" not in detail
        while degradations(await world.live()) != world.usual:
            pass
        for number, answer in enumerate(answers):
            again = await world.live(request_id=f"silent-{number}")
            assert again.decision_id == answer.decision_id
            assert again.actions
            assert await world.live(request_id=f"silent-{number}") == again

    world.run(exercise())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://tact:hush-hush@127.0.0.1:1/tact", "PostgreSQL tact: Connection refused"),
        ("postgresql://tact:hush-hush%zz@127.0.0.1/tact", "PostgreSQL: the URL cannot be read"),
        (
            "mysql://tact:hush-hush@127.0.0.1/tact",
            "TACT_GATEWAY_STORE: Value error, must be empty, for a file under TACT_HOME, "
            "or begin with postgresql://",
        ),
    ],
)
def test_a_gateway_refuses_to_start_without_its_store_and_tells_no_password(url, reason, tmp_path, shop):
    services = worlds.Processes(tmp_path, shop, names=(), environ={"TACT_GATEWAY_STORE": url})

    async def main():
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(AssertionError):
                await services.start("gateway")
            return await services.ended("gateway")

    assert asyncio.run(main()) == 1
    assert services.log == [f"gateway cannot start: {reason}\n"]
