"""Services that fall silent or leave: each answer comes in time and names what it went without."""

import asyncio
import contextlib
import itertools
import signal
import sqlite3

import grpc
import pytest
import worlds
from deciding import chosen, codes, degradations, request, served_by
from detours import Detour
from tact.log.v1 import decision_record_pb2 as log_pb
from trouble import PATIENCE_SECONDS, Detoured, half_open, opened, paused, slow
from worlds import CUSTOMERS, DEPENDENCIES, DESCRIPTORS

from services.chassis.clients import GrpcStub, channel

IN_FLIGHT = 8
NEEDS_NO_CONSENT = {"recall", "receipt"}
GATEWAY = DESCRIPTORS["gateway"]

by_name = {"ids": lambda fault: fault.__name__}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    uri = worlds.register_model(folder)
    # A drain that waits for what never ends would outlast every test.
    drains = {f"TACT_{name}_DRAIN_SECONDS": "600" for name in ("GATEWAY", "PROFILE", "FEATURES")}
    shop = worlds.write_shop(folder / "shop")
    with opened(Detoured(folder / "home", shop, uri, environ=drains)) as world:
        yield world


@pytest.mark.parametrize("silenced", [paused, half_open, slow], **by_name)
@pytest.mark.parametrize(
    ("name", "level"), [("profile", "MODEL"), ("features", "LAST_GOOD_FEATURES"), ("scoring", "PRIORS")]
)
def test_a_dependency_that_falls_silent_degrades_the_answer_in_time(world, silenced, name, level):
    async def exercise():
        with silenced(world.services, name):
            answer = await world.ask()
        await world.recovered()
        return answer

    answer = world.run(exercise())
    assert degradations(answer) == [(name.upper(), "TIMEOUT")]
    assert served_by(answer) == level
    assert answer.actions
    if name == "profile":
        assert {action_id for action_id, _ in chosen(answer)} <= NEEDS_NO_CONSENT


@pytest.mark.parametrize("silenced", [paused, half_open], **by_name)
def test_when_all_fall_silent_what_needs_no_consent_is_answered_in_time(world, silenced):
    async def exercise():
        with contextlib.ExitStack() as stack:
            for name in DEPENDENCIES:
                stack.enter_context(silenced(world.services, name))
            answers = await asyncio.gather(
                world.ask(), world.ask(identity=("card", f"card of {CUSTOMERS[0]}"))
            )
        await world.recovered()
        return answers

    by_id, by_card = world.run(exercise())
    assert {(source, "TIMEOUT") for source in ("PROFILE", "FEATURES")} <= set(degradations(by_id))
    assert {action_id for action_id, _ in chosen(by_id)} == NEEDS_NO_CONSENT
    assert degradations(by_card) == [("PROFILE", "TIMEOUT")]
    assert (served_by(by_card), codes(by_card)) == ("NOTHING", ["DEGRADED"])


def test_a_dead_connection_is_replaced_while_decisions_go_on(world):
    async def exercise():
        for detour in world.services.detours.values():
            detour.forget()
        answer = await world.ask()
        await world.recovered()
        return answer

    lost = {(source, "TIMEOUT") for source in ("PROFILE", "FEATURES")}
    # Twice what it takes: left to itself the library needs a minute.
    assert lost <= set(degradations(world.run(exercise(), patience_seconds=20.0)))


class Callers:
    """Callers that ask for live decisions, one after the other, until they are refused or told to leave."""

    def __init__(self, world, timeout):
        self._world = world
        self._timeout = timeout
        self._numbers = itertools.count()
        self.answers = {}
        self.refusals = {}
        self.may_leave = False
        self._answered = asyncio.Event()

    async def call(self):
        """Ask for the whole time."""
        while not self.may_leave:
            number = next(self._numbers)
            fields = {"customer": CUSTOMERS[number % len(CUSTOMERS)], "timeout": self._timeout}
            request_id = f"{id(self)}-{number}"
            try:
                self.answers[request_id] = await self._world.live(request_id=request_id, **fields)
                self._answered.set()
            except grpc.aio.AioRpcError as error:
                self.refusals[request_id] = error.code()
                return

    async def answered(self, count):
        """Wait until so many were answered."""
        while len(self.answers) < count:
            self._answered.clear()
            await self._answered.wait()

    def check(self, folder):
        """Check that what was answered is on record as it was answered, and nothing of the rest is."""
        with contextlib.closing(sqlite3.connect(folder / "gateway.sqlite")) as store:
            rows = store.execute("SELECT record FROM decisions").fetchall()
        responses = [log_pb.DecisionRecord.FromString(record).response for (record,) in rows]
        logged = {response.request_id: response for response in responses}
        assert {request_id: logged[request_id] for request_id in self.answers} == self.answers
        assert not self.refusals.keys() & logged.keys()
        # The other one is for a call that crosses the server's farewell on the wire.
        assert set(self.refusals.values()) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


@pytest.mark.parametrize("is_held_up", [False, True], ids=["swift", "held up"])
def test_sigterm_under_load_loses_no_request(world, is_held_up):
    services, callers = world.services, Callers(world, timeout=3.0)
    labels = {"grpc_service": GATEWAY.full_name, "grpc_method": "Decide"}

    async def exercise():
        calling = asyncio.gather(*(callers.call() for _ in range(IN_FLIGHT)))
        await callers.answered(10 * IN_FLIGHT)
        before = len(callers.answers)
        with paused(services, "features") if is_held_up else contextlib.nullcontext():
            while is_held_up and await world.sample("grpc_server_in_flight", **labels) < IN_FLIGHT:
                pass
            services.signal("gateway", signal.SIGTERM)
            await calling
            code = await services.ended("gateway")
        callers.check(services.home)
        await services.start("gateway")
        await world.recovered()
        return code, len(callers.answers) - before

    code, answered_after = world.run(exercise())
    assert code == 0
    assert answered_after >= IN_FLIGHT or not is_held_up


def test_sigterm_of_dependencies_under_load_costs_no_answer(world):
    services, callers = world.services, Callers(world, timeout=PATIENCE_SECONDS)

    async def exercise():
        calling = asyncio.gather(*(callers.call() for _ in range(IN_FLIGHT)))
        codes = []
        for name in ("profile", "features"):
            await callers.answered(len(callers.answers) + IN_FLIGHT)
            services.signal(name, signal.SIGTERM)
            codes.append(await services.ended(name))
            await services.start(name)
            await world.recovered()
        callers.may_leave = True
        await calling
        callers.check(services.home)
        return codes

    assert world.run(exercise()) == [0, 0]
    assert not callers.refusals
    lost = {loss for answer in callers.answers.values() for loss in degradations(answer)}
    assert lost <= {("PROFILE", "UNAVAILABLE"), ("FEATURES", "UNAVAILABLE")}


def test_callers_that_fall_silent_halfway_hurt_nobody_and_hold_up_no_drain(world):
    services = world.services
    port, metrics_port = services.port("gateway"), services.metrics_port("gateway")
    large = request(action_ids=["x" * 1_000] * 1_000)

    async def exercise():
        async with contextlib.AsyncExitStack() as stack:
            # What begins a call passes, most of its message does not.
            detour = await stack.enter_async_context(Detour(port, most=2_000))
            halved = await stack.enter_async_context(channel(f"127.0.0.1:{detour.port}", GATEWAY))
            stub = GrpcStub(halved, GATEWAY, PATIENCE_SECONDS)
            halves = [asyncio.create_task(stub.Decide(large)) for _ in range(IN_FLIGHT)]
            for where, beginning in (
                (port, b""),
                (port, b"PRI * HT"),
                (metrics_port, b""),
                (metrics_port, b"GET /m"),
            ):
                _, writer = await asyncio.open_connection("127.0.0.1", where)
                stack.callback(writer.close)
                writer.write(beginning)
                await writer.drain()
            answers = [await world.ask() for _ in range(IN_FLIGHT)]
            services.signal("gateway", signal.SIGTERM)
            code = await services.ended("gateway")
            failures = await asyncio.gather(*halves, return_exceptions=True)
        await services.start("gateway")
        await world.recovered()
        return code, answers, {failure.code() for failure in failures}

    code, answers, failures = world.run(exercise())
    assert code == 0
    assert not any(map(degradations, answers))
    assert failures == {grpc.StatusCode.UNAVAILABLE}
