"""Crowds contend for the last slots of a customer's contact ledger: a cap of N yields exactly N claims."""

import asyncio
import contextlib
import itertools
import random
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
import worlds
from crowds import (
    CANCELLED,
    FEW,
    GO,
    MOST,
    PAIR,
    PAIR_MOST,
    Fleet,
    Postgresql,
    Sqlite,
    asking,
    claiming,
    learn,
    name_of,
    newcomer,
    postgresql,
    sqlite,
    write_capped,
)
from deciding import codes, degradations, served_by
from detours import Detour
from tact.decision.v1 import decision_service_pb2 as pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from trouble import DEADLINE_SECONDS, PATIENCE_SECONDS, full, opened, small_disk

from services.chassis.clients import GrpcStub, channel
from services.chassis.faults import error_info

CROWD = 64
SIZE = 4
CALLERS, ROUNDS, KILLS = 16, 2, 2
LINKED_SECONDS = 0.5
SENDERS = ("one sender", "one sender", "another")
NO_SCORES = [("SCORING", "UNAVAILABLE")]
GATEWAY = worlds.DESCRIPTORS["gateway"]
CONFLICTS = "tact_ledger_conflicts_total"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The services that all gateways here ask."""
    folder = tmp_path_factory.mktemp("world")
    services = worlds.Processes(
        folder / "home", write_capped(folder / "playbook"), names=("profile", "features")
    )
    with opened(services) as world:
        yield world


@pytest.fixture(scope="module", params=[sqlite, postgresql], ids=["sqlite", "postgresql"])
def store(request, tmp_path_factory):
    with request.param(tmp_path_factory.mktemp("store")) as store:
        asyncio.run(learn(store))
        yield store


@pytest.fixture
def fleet(world, lasting):
    world.run(lasting.mend())
    return lasting


@pytest.fixture(scope="module")
def lasting(tmp_path_factory, world, store):
    playbook = write_capped(tmp_path_factory.mktemp("lasting") / "playbook")
    with sailing(world, Fleet(world.services, store, playbook, SIZE)) as fleet:
        yield fleet


@contextlib.contextmanager
def sailing(world, fleet):
    """Start gateways, and read their logs once they are gone."""

    try:
        world.run(fleet.__aenter__())
        yield fleet
    finally:
        world.run(fleet.__aexit__())
    log = "".join(line for gateway in fleet.gateways for line in gateway.log)
    assert "unhandled exception" not in log
    assert "Traceback" not in log
    assert "customer-" not in log


@pytest.fixture
def tell(capsys, pytestconfig):
    """Print a line that is shown whatever becomes of the test."""

    def tell(line):
        with capsys.disabled():
            pytestconfig.get_terminal_writer().write(f"\n{line}", flush=True)

    return tell


async def decided(fleet, size, requests):
    """Ask so many gateways at once, none of which can write before it was asked; returns the answers."""
    before = await fleet.total("grpc_server_started_total", grpc_method="Decide")
    with fleet.store.locked():
        asked = [
            asyncio.create_task(fleet.persist(number % size, "Decide", request))
            for number, request in enumerate(requests)
        ]
        while await fleet.total("grpc_server_started_total", grpc_method="Decide") < before + len(asked):
            pass
    answers = await asyncio.gather(*asked)
    for answer in answers:
        expected = ("PRIORS", NO_SCORES) if answer.actions else ("MODEL", [])
        assert (served_by(answer), degradations(answer)) == expected
        assert answer.actions or codes(answer) == ["CONTACT_POLICY"]
    return answers


async def claimed(fleet, size, answers):
    """Claim each answer for two senders, one of whom repeats it, all at once; returns how many may go."""
    claims = [(answer, sender) for answer in answers for sender in SENDERS]
    claims = list(itertools.islice(itertools.cycle(claims), max(CROWD, len(claims))))
    random.Random(len(claims)).shuffle(claims)
    verdicts = await asyncio.gather(
        *(
            fleet.persist(number % size, "ClaimDelivery", claiming(*claim))
            for number, claim in enumerate(claims)
        )
    )
    went = {}
    for (answer, sender), verdict in zip(claims, verdicts, strict=True):
        if verdict.verdict == GO:
            went.setdefault(answer.decision_id, []).append((sender, verdict))
        else:
            assert (verdict.verdict, verdict.reason.code) == (CANCELLED, "ALREADY_CLAIMED")
    for told in went.values():
        assert len({(sender, verdict.claim_time.ToNanoseconds()) for sender, verdict in told}) == 1
        assert [verdict.is_repeat for _, verdict in told].count(False) == 1
    return len(went)


@pytest.mark.parametrize(("size", "caps"), [(1, FEW), (SIZE, MOST)], ids=["one_process", "four_processes"])
def test_contention_for_a_cap_of_n_yields_exactly_n_claims(world, fleet, size, caps, tell):
    async def exercise(most):
        customer_id = await newcomer(world.services.stubs["profile"])
        requests = [asking(customer_id, name_of(most)) for _ in range(CROWD)]
        before = await fleet.total(CONFLICTS)
        granted = [answer for answer in await decided(fleet, size, requests) if answer.actions]
        went = await claimed(fleet, size, granted)
        conflicts = await fleet.total(CONFLICTS) - before
        tell(
            f"contention {fleet.store.name}, {size} {'processes' if size > 1 else 'process'}: cap {most}, "
            f"asked {CROWD}, granted {len(granted)}, claimed {went}, conflicts {conflicts}"
        )
        assert len(granted) == went == fleet.taken(customer_id) == most
        late = await decided(fleet, size, [asking(customer_id, name_of(most)) for _ in range(SIZE)])
        assert not any(answer.actions for answer in late)
        return conflicts

    assert sum(world.run(exercise(most)) for most in caps) > 0


def test_contention_of_answers_with_several_actions_fills_a_cap_and_no_more(world, fleet):
    async def exercise():
        customer_id = await newcomer(world.services.stubs["profile"])
        requests = [asking(customer_id, *PAIR, max_actions=len(PAIR)) for _ in range(CROWD)]
        answers = await decided(fleet, SIZE, requests)
        assert sum(len(answer.actions) for answer in answers) == PAIR_MOST

    world.run(exercise())


def test_contention_of_one_request_takes_one_slot_and_has_one_answer(world, fleet):
    async def exercise():
        customer_id = await newcomer(world.services.stubs["profile"])
        requests = [asking(customer_id, name_of(3), request_id=f"of {customer_id}")] * CROWD
        answers = await decided(fleet, SIZE, requests)
        assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
        assert answers[0].actions
        assert await claimed(fleet, SIZE, answers[:1]) == fleet.taken(customer_id) == 1

    world.run(exercise())


def test_contention_of_claims_with_reports_of_their_deliveries_takes_each_slot_once(world, fleet):
    async def exercise():
        profile = world.services.stubs["profile"]
        requests = [asking(await newcomer(profile), name_of(3)) for _ in range(CROWD)]
        answers = await decided(fleet, SIZE, requests)
        before = await fleet.total("tact_over_cap_total")
        done = await asyncio.gather(
            *(
                fleet.persist(number + place, *call)
                for number, answer in enumerate(answers)
                for place, call in enumerate([("ClaimDelivery", claiming(answer)), delivery(answer)])
            )
        )
        went = sum(verdict.verdict == GO for verdict in done[::2])
        assert went + await fleet.total("tact_over_cap_total") - before == CROWD

    world.run(exercise())


@pytest.mark.parametrize("most", [3, 10])
def test_contention_amid_a_link_holds_the_cap_for_both_as_one(world, fleet, tell, most):
    async def exercise():
        profile = world.services.stubs["profile"]
        both = [await newcomer(profile) for _ in range(2)]
        linked, ended = asyncio.Event(), asyncio.Event()
        granted = {False: 0, True: 0}

        async def ask(number):
            while not ended.is_set():
                began_late = linked.is_set()
                asked = asking(both[number % 2], name_of(most))
                answer = await fleet.persist(number, "Decide", asked)
                granted[began_late] += len(answer.actions)
                if answer.actions:
                    verdict = await fleet.persist(number + 1, "ClaimDelivery", claiming(answer))
                    # Granted to one of two before they were one, and too much for both.
                    assert verdict.verdict == GO or not began_late

        async with asyncio.TaskGroup() as tasks:
            keys = [profile_pb.CustomerKey(customer_id=customer_id) for customer_id in both]
            link = profile_pb.LinkIdentitiesRequest(link_id=both[0], customer=keys[0], other=keys[1])
            linking = tasks.create_task(profile.LinkIdentities(link))
            for number in range(CALLERS):
                tasks.create_task(ask(number))
            await linking
            linked.set()
            await asyncio.sleep(LINKED_SECONDS)
            ended.set()
        taken = [fleet.taken(customer_id) for customer_id in both]
        tell(
            f"contention {fleet.store.name}, two linked amid a crowd: cap {most}, granted {granted[False]} "
            f"before and {granted[True]} after the link, claimed {taken[0]} and {taken[1]}"
        )
        assert sum(granted.values()) == max(most, granted[False])
        assert sum(taken) <= max(most, granted[False])
        late = await decided(fleet, SIZE, [asking(each, name_of(most)) for each in both])
        assert not any(answer.actions for answer in late)

    world.run(exercise())


def delivery(answer):
    """Report that the first action of an answer was delivered."""
    outcome = pb.Outcome(
        outcome_id=answer.decision_id,
        decision_id=answer.decision_id,
        rank=1,
        kind="OUTCOME_KIND_DELIVERED",
        outcome_time=answer.decision_time,
    )
    return "RecordOutcomes", pb.RecordOutcomesRequest(outcomes=[outcome])


class Storm:
    """A crowd about some customers, amid which gateways are killed and connections cut."""

    def __init__(self, fleet, draw):
        self.fleet = fleet
        self.told = []
        self._draw = draw
        self._moments = {}
        self._troubles = []
        self._answers = itertools.count()

    async def blow(self, customers):
        """Let a crowd ask about each customer, by its cap; some never claim what they were granted."""
        callers = [(customer, most) for customer, most in customers for _ in range(CALLERS)]
        self._draw.shuffle(callers)
        moments = self._draw.sample(range(len(callers)), KILLS + 1)
        killed = self._draw.sample(range(len(self.fleet.gateways)), KILLS)
        self._answers, self._moments = itertools.count(), dict(zip(moments, [*killed, None], strict=True))
        await asyncio.gather(
            *(
                self.send(number, *caller, forgets=self._draw.random() < 0.3)
                for number, caller in enumerate(callers)
            )
        )
        await asyncio.gather(*self._troubles)

    async def send(self, number, customer, most, *, forgets=False):
        """Ask, and claim what is granted, until there is an answer to each."""
        asked, verdict = asking(customer, name_of(most)), None
        answer = await self._persist(number, "Decide", asked)
        while served_by(answer) == "NOTHING":
            # The store was away, and nothing is sent; who asks again hears what was written all the same.
            assert not answer.actions
            answer = await self._persist(number + 1, "Decide", asked)
        assert answer.actions or codes(answer) == ["CONTACT_POLICY"]
        if answer.actions and not forgets:
            verdict = await self._persist(number + 1, "ClaimDelivery", claiming(answer))
            assert verdict.verdict == GO or verdict.reason.code == "EXPIRED"
        self.told.append((customer, asked, answer, verdict))

    def went(self, customer):
        """Count the claims that were told to go, each of another decision."""
        return sum(
            told == customer and verdict is not None and verdict.verdict == GO
            for told, _, _, verdict in self.told
        )

    async def _persist(self, *call):
        answer = await self.fleet.persist(*call)
        if (number := next(self._answers)) in self._moments:
            self._troubles.append(asyncio.create_task(self._trouble(self._moments[number])))
        return answer

    async def _trouble(self, index):
        if index is None:
            await asyncio.to_thread(self.fleet.store.cut)
        else:
            await self.fleet.kill(index)
            await self.fleet.start(index)


def test_contention_amid_kills_never_yields_more_and_what_expires_comes_back(
    world, store, tmp_path_factory, tell
):
    playbook = write_capped(tmp_path_factory.mktemp("brief") / "playbook", claim_within="2s")

    async def exercise(storm):
        profile, fleet = world.services.stubs["profile"], storm.fleet
        customers = [(await newcomer(profile), most) for _ in range(ROUNDS) for most in FEW]
        for start in range(0, len(customers), len(FEW)):
            await storm.blow(customers[start : start + len(FEW)])
            for customer, most in customers:
                assert storm.went(customer) == fleet.taken(customer) <= most
        stormed = list(storm.told)
        went = sum(storm.went(customer) for customer, _ in customers)
        for number, (_, asked, answer, verdict) in enumerate(stormed):
            assert written(await fleet.persist(number, "Decide", asked)) == written(answer)
            if verdict:
                again = await fleet.persist(number, "ClaimDelivery", claiming(answer))
                assert (again.verdict, again.claim_time) == (verdict.verdict, verdict.claim_time)
                assert again.is_repeat
        for customer, most in customers:
            while storm.went(customer) < most:
                await storm.send(0, customer, most)
            await storm.send(0, customer, most)
            assert storm.went(customer) == fleet.taken(customer) == most
        for number, (_, _, answer, verdict) in enumerate(stormed):
            if answer.actions and not verdict:
                late = await fleet.persist(number, "ClaimDelivery", claiming(answer))
                assert (late.verdict, late.reason.code) == (CANCELLED, "EXPIRED")
        tell(
            f"contention {store.name}, {len(fleet.gateways)} processes, {ROUNDS * KILLS} killed: "
            f"caps of {sum(most for _, most in customers)} in all, asked {len(stormed)}, claimed {went}, "
            f"{sum(fleet.taken(customer) for customer, _ in customers)} once what nobody claimed had expired"
        )

    # Features are of the same version as the playbook of those who ask for them.
    with sailing(world, Fleet(world.services, store, playbook, KILLS + 1, names=["features"])) as fleet:
        world.run(exercise(Storm(fleet, random.Random(20_251_122))), worlds.PATIENCE_SECONDS)


def test_contention_with_a_locked_store_sends_nothing_that_was_not_counted(world, fleet):
    world.run(suffer(world, fleet, fleet.store.locked()))


@pytest.mark.parametrize("is_written", [False, True], ids=["before_it_is_written", "before_it_is_answered"])
def test_contention_after_a_crash_sees_all_or_nothing_and_the_retry_gets_the_same(world, fleet, is_written):
    async def exercise():
        customer = await newcomer(world.services.stubs["profile"])
        asked = asking(customer, name_of(1))
        await crash(fleet, 0, "Decide", asked, is_written and (lambda: fleet.logged(customer)))
        other = await fleet.persist(1, "Decide", asking(customer, name_of(1)))
        answer = await fleet.persist(1, "Decide", asked)
        granted, refused = (answer, other) if is_written else (other, answer)
        assert (len(granted.actions), codes(refused)) == (1, ["CONTACT_POLICY"])
        assert written(granted) in map(written, fleet.logged(customer))
        asked = claiming(granted)
        await crash(fleet, 1, "ClaimDelivery", asked, is_written and (lambda: fleet.taken(customer)))
        assert fleet.taken(customer) == is_written
        verdict = await fleet.persist(2, "ClaimDelivery", asked)
        assert (verdict.verdict, verdict.is_repeat) == (GO, is_written)
        assert (await fleet.persist(3, "ClaimDelivery", claiming(granted, "another"))).verdict == CANCELLED
        assert fleet.taken(customer) == 1

    world.run(exercise())


async def crash(fleet, index, rpc, asked, is_written):
    """Kill a gateway amid a call: once what it says is so, or before anything can be written."""
    gateway = fleet.gateways[index]
    opened = Detour(gateway.port("gateway"))
    async with opened as detour, channel(f"127.0.0.1:{detour.port}", GATEWAY) as way:
        with fleet.store.locked():
            calling = asyncio.create_task(getattr(GrpcStub(way, GATEWAY, PATIENCE_SECONDS), rpc)(asked))
            while not await fleet.total("grpc_server_in_flight", [gateway], grpc_method=rpc):
                pass
            detour.hold()
            if not is_written:
                await fleet.kill(index)
        while is_written and not await asyncio.to_thread(is_written):
            pass
        if is_written:
            await fleet.kill(index)
        calling.cancel()


def written(answer):
    """Return an answer as it goes over the wire."""
    return answer.SerializeToString(deterministic=True)


def test_contention_on_a_full_disk_sends_nothing_that_was_not_counted(world, tmp_path):
    playbook, disk, seed = write_capped(tmp_path / "playbook"), tmp_path / "disk", tmp_path / "seed"
    disk.mkdir()
    asyncio.run(learn(Sqlite(seed)))
    copying = ["sh", "-c", 'cp -r "$SEED/." "$TACT_HOME" && exec "$@"', "sh"]
    launcher, environ = [*small_disk(megabytes=8), *copying], {"SEED": str(seed)}
    fleet = Fleet(world.services, Sqlite(disk), playbook, 1, environ=environ, launcher=launcher)
    with sailing(world, fleet):
        pid = fleet.gateways[0].pid("gateway")
        world.run(suffer(world, fleet, full([Path(f"/proc/{pid}/root{disk}")])))


def test_contention_with_a_silent_server_sends_nothing_that_was_not_counted(world, tmp_path):
    playbook = write_capped(tmp_path / "playbook")
    with postgresql(tmp_path) as store:
        asyncio.run(learn(store))
        detour = Detour(urlsplit(store.url).port)
        world.run(detour.__aenter__())
        there = Postgresql(tmp_path, store.url, detour.port)
        with sailing(world, Fleet(world.services, there, playbook, 1)) as fleet:
            world.run(suffer(world, fleet, silent(detour)))
        world.run(detour.__aexit__())


@contextlib.contextmanager
def silent(detour):
    """Lose what travels, with nobody told."""
    detour.hold()
    try:
        yield
    finally:
        detour.release()


async def suffer(world, fleet, fault):
    """Claim, and decide once more, while a fault lasts and once it is over."""
    customer = await newcomer(world.services.stubs["profile"])
    first, second, third, fourth = (asking(customer, name_of(3)) for _ in range(4))
    gone, waiting = [await fleet.persist(0, "Decide", asked) for asked in (first, second)]
    assert (await fleet.persist(0, "ClaimDelivery", claiming(gone))).verdict == GO
    with fault:
        answer, reason = await asyncio.gather(
            fleet.stub(0).Decide(third, timeout=DEADLINE_SECONDS), refusal(fleet.stub(0), waiting)
        )
    assert (served_by(answer), codes(answer), len(answer.actions)) == ("NOTHING", ["NOT_LOGGED"], 0)
    assert ("DECISION_LOG", "UNAVAILABLE") in degradations(answer)
    assert reason == "STORE_UNAVAILABLE"
    verdict = await fleet.persist(0, "ClaimDelivery", claiming(waiting))
    assert (verdict.verdict, verdict.is_repeat) == (GO, False)
    again = await fleet.persist(0, "Decide", third)
    assert len(again.actions) == 1
    assert codes(await fleet.persist(0, "Decide", fourth)) == ["CONTACT_POLICY"]
    assert (await fleet.persist(0, "ClaimDelivery", claiming(again))).verdict == GO
    assert codes(await fleet.persist(0, "Decide", asking(customer, name_of(3)))) == ["CONTACT_POLICY"]


async def refusal(gateway, answer):
    """Return why a claim got no verdict."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.ClaimDelivery(claiming(answer), timeout=DEADLINE_SECONDS)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    return error_info(raised.value).reason
