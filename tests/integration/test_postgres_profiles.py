"""Profiles on PostgreSQL, used by several processes' worth of connections at once."""

import asyncio
import contextlib
import itertools
import random
import re

import databases
import pytest
from profile_stores import (
    MIGRATIONS_OF_POSTGRESQL,
    consent,
    everything,
    link,
    made,
    owner_of,
    postgresql_at,
    read,
    unlink,
    update,
)

from services.chassis.postgres import Postgres
from services.chassis.postgres import StoreUnavailable as Unavailable
from services.profile.adapters.postgres_profiles import PostgresProfiles
from services.profile.adapters.rows import consent_of
from services.profile.domain.consents import Recorded, State
from services.profile.domain.identities import Identity
from services.profile.domain.links import SOURCE, LinkAnswer, stricter
from services.profile.domain.updates import Taken
from services.profile.ports import StoreOverloaded, StoreUnavailable

PATIENCE_SECONDS = 120.0
PROCESSES = 3
NAMES = ("anna", "Ben", "ɐnna", "zoe", "carl", "dora")
CONSENTS = """
    SELECT sequence, receipt_id, customer_id, purpose, channel, state, stated_time, expire_time, source,
           record_time
    FROM profile.consents ORDER BY sequence
"""


def run(main):
    async def bounded():
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await main()

    return asyncio.run(bounded())


@pytest.fixture
def url():
    with databases.postgresql() as url:
        yield url


@contextlib.asynccontextmanager
async def stores(url, count=PROCESSES):
    """Open the store so many times, as so many processes would."""
    async with contextlib.AsyncExitStack() as stack:
        yield [(await stack.enter_async_context(postgresql_at(url, 4))).store for _ in range(count)]


def asked(url, query):
    with databases.administrator(url) as server:
        return server.execute(query).fetchall()


def deadlocks(url):
    return asked(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]


def test_an_identity_that_many_claim_at_once_goes_to_exactly_one(url):
    cards, crowd = [str(number) for number in range(30)], 24

    async def main():
        async with stores(url) as several:

            async def claim(number):
                mine = random.Random(number).sample(cards, len(cards))
                batch = [update(f"c{number}", cards=[card], plan=str(number)) for card in mine]
                answers = await several[number % PROCESSES].upsert(batch)
                return {card for card, answer in zip(mine, answers, strict=True) if answer is None}

            won = await asyncio.gather(*map(claim, range(crowd)))
            owners = {card: await owner_of(several[0], card) for card in cards}
            customers = await several[0].read([f"c{number}" for number in range(crowd)], None)
        assert sorted(card for each in won for card in each) == sorted(cards)
        assert all(card in won[int(owner[1:])] for card, owner in owners.items())
        # Who won nothing left nothing.
        assert [bool(cards) for cards in won] == [customer is not None for customer in customers]

    run(main)
    assert deadlocks(url) == 0


def test_an_update_that_lost_an_identity_meanwhile_is_not_applied_at_all(url):
    async def main():
        async with stores(url, 2) as (one, two):
            with databases.administrator(url) as server, server.transaction():
                server.execute("INSERT INTO profile.customers VALUES ('first')")
                server.execute("INSERT INTO profile.identities VALUES ('card', '1', 'first')")
                waiting = [
                    asyncio.create_task(one.upsert([update("late", cards=["2", "1"], plan="1")])),
                    asyncio.create_task(two.upsert([update("first", cards=["1"], plan="2")])),
                ]
                await asyncio.sleep(0.2)
            assert await asyncio.gather(*waiting) == [[Taken((1,))], [None]]
            assert await read(one, "late") is None
            assert await owner_of(one, "2") is None
            assert (await read(one, "first")).attributes["plan"].value == 2

    run(main)


def test_receipts_that_many_record_at_once_are_recorded_once(url):
    receipts, crowd = [f"r-{number}" for number in range(3_000)], 6

    async def main():
        async with stores(url) as several:
            await made(several[0], *NAMES)

            async def record(number):
                mine = random.Random(number).sample(receipts, len(receipts))
                customer = NAMES[number % 2]
                batch = [consent(receipt, customer_id=customer) for receipt in mine]
                answers = await several[number % PROCESSES].record(batch)
                return dict(zip(mine, answers, strict=True))

            answers = await asyncio.gather(*map(record, range(crowd)))
            said = {name: await several[0].consents_of(name) for name in NAMES[:2]}
        for receipt in receipts:
            given = [each[receipt] for each in answers]
            assert given.count(Recorded.NEW) == 1
            owner = given.index(Recorded.NEW) % 2
            assert all(
                answer in (Recorded.NEW, Recorded.DUPLICATE)
                if number % 2 == owner
                else answer is Recorded.REUSED
                for number, answer in enumerate(given)
            )
        assert sum(map(len, said.values())) == len(receipts)

    run(main)
    assert deadlocks(url) == 0


def test_customers_that_many_create_at_once_wait_in_no_circle(url):
    names = [f"c{number}" for number in range(10_000)]

    async def main():
        async with stores(url) as several:

            async def create(number):
                mine = random.Random(number).sample(names, len(names))
                batch = [update(name) for name in mine]
                return await several[number % PROCESSES].upsert(batch)

            answers = await asyncio.gather(*map(create, range(6)))
            assert answers == [[None] * len(names)] * 6
            assert None not in await several[0].read(names[:1_000], None)

    run(main)
    assert deadlocks(url) == 0


def test_what_a_customer_said_is_seen_in_an_order_that_never_changes(url):
    async def main():
        async with stores(url) as several:
            await made(several[0], "a", "b")
            await several[0].link(link("l-1", "a", "b"))
            serials, over = itertools.count(), asyncio.Event()

            async def say(store):
                for _ in range(30):
                    state = State.GRANTED if next(serials) % 2 else State.WITHDRAWN
                    customer = "ab"[next(serials) % 3 % 2]
                    await store.record([consent(f"r-{next(serials)}", customer_id=customer, state=state)])

            async def look(store):
                before = []
                while not over.is_set():
                    now = await store.consents_of("a")
                    assert now[: len(before)] == before
                    before = now
                return before

            looking = [asyncio.create_task(look(store)) for store in several]
            await asyncio.gather(*(say(store) for store in several for _ in range(3)))
            over.set()
            return await asyncio.gather(*looking)

    assert all(len(seen) > 100 for seen in run(main))


def test_values_of_one_time_that_many_write_at_once_are_of_one_call(url):
    attributes = [f"a{number}" for number in range(20)]

    async def main():
        async with stores(url) as several:

            async def write(number):
                names = random.Random(number).sample(attributes, len(attributes))
                source = f"s{number}"
                values = {name: str(number) for name in names}
                await several[number % PROCESSES].upsert([update("a", source=source, **values)])

            for _ in range(5):
                await asyncio.gather(*map(write, range(12)))
                found = (await read(several[0], "a")).attributes
                assert len(found) == len(attributes)
                assert len({(one.value, one.source) for one in found.values()}) == 1

    run(main)
    assert deadlocks(url) == 0


def test_links_of_several_processes_at_once_make_no_circle(url):
    async def main():
        async with stores(url) as several:
            await made(several[0], *NAMES)
            pairs = list(itertools.permutations(NAMES, 2))
            random.Random(7).shuffle(pairs)
            acts = [link(f"l-{number}", one, two) for number, (one, two) in enumerate(pairs)]
            answers = await asyncio.gather(
                *(several[number % PROCESSES].link(act) for number, act in enumerate(acts))
            )
            given = [answer.answer for answer in answers]
            assert given.count(LinkAnswer.NEW) == len(NAMES) - 1
            assert set(given) == {LinkAnswer.NEW, LinkAnswer.DUPLICATE}
            versions = sorted(one.family.version for one in answers if one.answer is LinkAnswer.NEW)
            assert versions == list(range(1, len(NAMES)))
            families = await several[0].read(NAMES, None)
            assert {family.members for family in families} == {tuple(sorted(NAMES))}

    run(main)
    assert deadlocks(url) == 0


def test_one_link_that_several_ask_for_at_once_is_put_on_file_once(url):
    async def main():
        async with stores(url) as several:
            await made(several[0], *NAMES)
            same = await asyncio.gather(*(store.link(link("l-1", "anna", "zoe")) for store in several * 3))
            other = await asyncio.gather(
                *(store.link(link("l-2", "carl", name)) for store, name in zip(several, NAMES, strict=False))
            )
            assert [one.answer for one in same].count(LinkAnswer.NEW) == 1
            assert {one.answer for one in same} == {LinkAnswer.NEW, LinkAnswer.DUPLICATE}
            assert {one.family.version for one in same} == {1}
            assert sorted(one.answer for one in other) == ["linked", "reused", "reused"]

    run(main)


def test_a_link_amid_consents_sees_all_that_were_recorded_before_it_and_none_after(url):
    """Each link is judged again by what its own records stand behind, in the order on file."""
    people = [f"p{number:02}" for number in range(24)]
    anchor = {"purpose": "anchor", "channel": "", "state": State.GRANTED}

    async def main():
        async with stores(url) as several:
            await made(several[0], *people)
            # All differ in the anchor, so that every link records something.
            await several[0].record(
                [
                    consent(f"r-{name}", customer_id=name, expire_time=1_000 + number, **anchor)
                    for number, name in enumerate(people)
                ]
            )
            over = asyncio.Event()

            async def say(number):
                draw = random.Random(number)
                for serial in itertools.count():
                    if over.is_set():
                        return
                    batch = [
                        consent(
                            f"r-{number}-{serial}-{place}",
                            customer_id=draw.choice(people),
                            at=draw.randrange(1, 50),
                            state=draw.choice(list(State)),
                            expire_time=draw.choice([None, 500, 600]),
                        )
                        for place in range(5)
                    ]
                    await several[number % PROCESSES].record(batch)

            async def join(number):
                draw = random.Random(100 + number)
                for serial in range(30):
                    one, two = draw.sample(people, 2)
                    await several[number % PROCESSES].link(link(f"l-{number}-{serial}", one, two))
                    await asyncio.sleep(0.005)

            saying = [asyncio.create_task(say(number)) for number in range(6)]
            await asyncio.gather(*map(join, range(PROCESSES)))
            over.set()
            await asyncio.gather(*saying)
            return await several[0].links(people[0])

    acts = run(main)
    rows = [(sequence, consent_of(row)) for sequence, *row in asked(url, CONSENTS)]
    copies = {one.statement.receipt_id: sequence for sequence, one in rows if one.statement.source == SOURCE}
    assert len(acts) == len(people) - 1
    assert len(rows) > 500
    members, strict = {name: {name} for name in people}, 0
    for act in acts:
        roots = act.customer_id, act.member_id
        first = min(copies[receipt] for receipt in _receipts_of(act, anchor) if receipt in copies)
        before = [
            [one for sequence, one in rows if sequence < first and one.statement.customer_id in members[root]]
            for root in roots
        ]
        expected = stricter(act.linking, *before, roots)
        assert expected == [one for sequence, one in rows if first <= sequence < first + len(expected)]
        strict += len(expected)
        members[act.customer_id] |= members.pop(act.member_id)
    assert strict == len(copies) > len(acts)
    assert deadlocks(url) == 0


def _receipts_of(act, anchor):
    """Return the receipts under which an act may have recorded the stricter anchor."""
    lax, strict = consent("lax", **anchor), consent("strict", expire_time=1, **anchor)
    roots = act.customer_id, act.member_id
    found = [stricter(act.linking, [one], [two], roots) for one, two in ((lax, strict), (strict, lax))]
    return [one.statement.receipt_id for (one,) in found]


def test_a_crowd_of_all_sorts_neither_fails_nor_waits_in_a_circle(url):
    crowd = 240

    async def main():
        async with stores(url) as several:
            at_once = asyncio.Semaphore(16)

            async def act(number):
                draw, store = random.Random(number), several[number % PROCESSES]
                one, two = draw.sample(NAMES, 2)
                async with at_once:
                    match draw.randrange(6):
                        case 0 | 1:
                            cards = draw.sample("123456", 3)
                            await store.upsert(
                                [
                                    update(name, at=draw.randrange(1, 4), cards=cards[:1], plan=str(number))
                                    for name in draw.sample(NAMES, 4)
                                ]
                            )
                        case 2:
                            await store.record(
                                [
                                    consent(f"r-{draw.randrange(80)}", customer_id=name)
                                    for name in draw.sample(NAMES, 4)
                                ]
                            )
                        case 3:
                            await store.link(link(f"l-{number}", one, two))
                        case 4:
                            await store.link(unlink(f"l-{number}", one))
                        case _:
                            profile = await read(store, one)
                            members = [one] if profile is None else profile.members
                            # Another may have joined meanwhile.
                            await store.erase(members, lambda: number)

            await asyncio.gather(*map(act, range(crowd)))
            return [await everything(store, NAMES) for store in several]

    told = run(main)
    assert told[0] == told[1] == told[2]
    assert deadlocks(url) == 0


def test_whoever_is_erased_while_others_write_is_gone_or_new(url):
    async def main():
        async with stores(url) as several:
            await made(several[0], "a")
            over = asyncio.Event()

            async def write(store, number):
                for serial in itertools.count():
                    if over.is_set():
                        return
                    await store.upsert([update("a", at=serial + 1, cards=[f"card-{number}"], plan="1")])
                    await store.record([consent(f"r-{number}-{serial}", customer_id="a")])

            writing = [asyncio.create_task(write(store, number)) for number, store in enumerate(several)]
            erased = []
            for time in range(30):
                erased.append(await several[0].erase(["a"], lambda time=time: time))
                await asyncio.sleep(0.01)
            over.set()
            await asyncio.gather(*writing)
            erased.append(await several[0].erase(["a"], lambda: 99))
            assert sum(each["consents"] for each in erased) > 0
            assert await read(several[0], "a") is None

    run(main)
    for table in ("customers", "identities", "attributes", "consents"):
        assert asked(url, f"SELECT count(*) FROM profile.{table}") == [(0,)]  # noqa: S608
    assert asked(url, "SELECT erase_time FROM profile.erasures") == [(99,)]


def test_while_connections_die_nothing_acknowledged_is_lost(url):
    async def main():
        async with stores(url) as several:
            await made(several[0], *NAMES)
            over, kept = asyncio.Event(), {"values": {}, "receipts": set(), "links": {}}

            async def disturb():
                while not over.is_set():
                    await asyncio.sleep(0.03)
                    await asyncio.to_thread(databases.terminate, url)

            async def write(worker):
                store, name = several[worker % PROCESSES], NAMES[worker % len(NAMES)]
                for serial in range(25):
                    key = f"{worker}-{serial}"
                    with contextlib.suppress(StoreUnavailable):
                        await store.upsert(
                            [update(name, at=serial + 1, cards=[key], **{f"a{worker}": key[:1]})]
                        )
                        kept["values"][key] = name
                        answers = await store.record([consent(f"r-{key}", customer_id=name)])
                        assert answers[0] in (Recorded.NEW, Recorded.DUPLICATE)
                        kept["receipts"].add(f"r-{key}")
                    act = link(f"l-{key}", name, NAMES[(worker + serial) % len(NAMES)])
                    if worker < 3 and act.customer_id != act.member_id:
                        with contextlib.suppress(StoreUnavailable):
                            await store.link(act)
                            kept["links"][act.link_id] = act

            disturbing = asyncio.create_task(disturb())
            await asyncio.gather(*map(write, range(9)))
            over.set()
            await disturbing
            store = several[0]
            roots = {name: (await read(store, name)).customer_id for name in NAMES}
            for card, name in kept["values"].items():
                assert await owner_of(store, card) == roots[name]
            for receipt in kept["receipts"]:
                (answer,) = await store.record([consent(receipt, customer_id=_owner(receipt))])
                assert answer is Recorded.DUPLICATE
            for act in kept["links"].values():
                assert (await store.link(act)).answer is LinkAnswer.DUPLICATE
            assert len(kept["receipts"]) > 100
            assert kept["links"]

    run(main)


def _owner(receipt):
    return NAMES[int(re.match(r"r-(\d+)-", receipt)[1]) % len(NAMES)]


def test_processes_that_start_at_once_bring_the_database_up_to_date_once_and_later_ones_find_it_so(url):
    async def one(number):
        async with stores(url, 1) as (store,):
            await made(store, f"c{number}")

    async def main():
        await asyncio.gather(*map(one, range(8)))
        async with stores(url) as several:
            for store in several:
                assert None not in await store.read([f"c{number}" for number in range(8)], None)

    run(main)
    assert asked(url, "SELECT version FROM tact_migrations WHERE schema = 'profile'") == [
        (len(MIGRATIONS_OF_POSTGRESQL),)
    ]


def test_a_newer_database_is_refused(url):
    async def main():
        async with stores(url, 1):
            pass
        with databases.administrator(url) as server:
            server.execute("UPDATE tact_migrations SET version = version + 1")
        with pytest.raises(Unavailable, match="a newer version wrote it"):
            async with stores(url, 1):
                pass

    run(main)


def test_profiles_share_a_database_with_tables_of_the_same_names(url):
    with databases.administrator(url) as server:
        server.execute("CREATE TABLE public.erasures (other INTEGER); CREATE TABLE public.customers ()")

    async def main():
        async with stores(url, 1) as (store,):
            await made(store, "a")
            assert (await store.erase(["a"], lambda: 5))["customers"] == 1

    run(main)
    assert asked(url, "SELECT count(*) FROM public.erasures") == [(0,)]
    assert asked(url, "SELECT count(*) FROM profile.erasures") == [(1,)]


def test_ids_are_told_apart_and_sorted_byte_by_byte(url):
    ids = ["c-a", "c-B", "C-a", "c-é", "c-e\N{COMBINING ACUTE ACCENT}", "c a", "\N{SNOWMAN}" * 128]

    async def main():
        async with stores(url, 1) as (store,):
            await made(store, *ids)
            for number, other in enumerate(ids[1:]):
                await store.link(link(f"l-{number}", ids[0], other))
            assert (await read(store, ids[0])).members == tuple(sorted(ids))
            owners = await store.resolve([Identity("card", f"card-{one}") for one in ids])
            assert owners == [ids[0]] * len(ids)

    run(main)


def test_a_store_that_holds_something_else_cannot_be_read(url):
    async def main():
        async with stores(url, 1) as (store,):
            await made(store, "a")
            await store.upsert([update("a", plan="1")])
            await store.record([consent("r-1", customer_id="a")])
            with databases.administrator(url) as server:
                server.execute("UPDATE profile.consents SET state = 'perhaps'")
                server.execute("UPDATE profile.attributes SET value = '{'")
            for ask in (read(store, "a"), store.consents_of("a"), store.record([consent("r-1")])):
                with pytest.raises(StoreUnavailable, match="something in it cannot be read back"):
                    await ask
            with databases.administrator(url) as server:
                server.execute("DROP TABLE profile.attributes")
            with pytest.raises(StoreUnavailable, match="does not exist"):
                await read(store, "a")

    run(main)


def test_more_callers_than_may_wait_are_refused(url):
    async def main():
        options = {"schema": "profile", "connections": 1, "queue_limit": 2}
        async with Postgres.open(url, MIGRATIONS_OF_POSTGRESQL, **options) as postgres:
            store = PostgresProfiles(postgres)
            answers = await asyncio.gather(
                *(store.upsert([update(f"c{number}")]) for number in range(8)), return_exceptions=True
            )
            assert answers.count([None]) >= 2
            assert any(isinstance(answer, StoreOverloaded) for answer in answers)
            assert all(answer == [None] or isinstance(answer, StoreOverloaded) for answer in answers)

    run(main)
