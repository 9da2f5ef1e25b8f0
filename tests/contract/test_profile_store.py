"""What every store of profiles promises."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_stores import (
    QUEUE,
    consent,
    every_store,
    everything,
    link,
    owner_of,
    read,
    real_stores,
    run,
    sqlite,
    unlink,
    update,
    using,
)

from services.profile.domain.consents import Recorded, State
from services.profile.domain.identities import Identity
from services.profile.domain.updates import Taken
from services.profile.fakes import InMemoryProfiles
from services.profile.ports import StoreOverloaded, StoreUnavailable


async def values(store, before=None, customer_id="c1"):
    profile = await read(store, customer_id, before)
    return {name: (value, time) for name, (value, time, _) in profile.attributes.items()}


async def receipts(store, before=None, customer_id="c1"):
    profile = await read(store, customer_id, before)
    return {
        consent.statement.channel: (consent.statement.receipt_id, consent.statement.state)
        for consent in profile.consents
    }


@every_store
def test_an_unknown_customer_has_no_profile(opened, tmp_path):
    async def main(store):
        return await read(store, "c1"), await owner_of(store, "1")

    assert run(opened, tmp_path, main) == (None, None)


@every_store
def test_values_of_every_type_come_back_as_they_are(opened, tmp_path):
    async def main(store):
        await store.upsert([update(word='"ä\\u0000"', number="1.5", whole="2", flag="false", gone="null")])
        return await values(store)

    assert run(opened, tmp_path, main) == {
        "word": ("ä\0", 10),
        "number": (1.5, 10),
        "whole": (2, 10),
        "flag": (False, 10),
    }


@every_store
def test_reads_as_of_a_time_see_what_was_recorded_before(opened, tmp_path):
    async def main(store):
        await store.upsert([update(at=20, a="2", b="1"), update(at=10, a="1"), update(at=30, b="null")])
        return [await values(store, before) for before in (10, 11, 20, 21, 31, None)]

    assert run(opened, tmp_path, main) == [
        {},
        {"a": (1, 10)},
        {"a": (1, 10)},
        {"a": (2, 20), "b": (1, 20)},
        {"a": (2, 20)},
        {"a": (2, 20)},
    ]


@every_store
def test_of_two_values_of_one_time_the_later_call_wins(opened, tmp_path):
    async def main(store):
        await store.upsert([update(a="1"), update(a="2")])
        first = await values(store)
        await store.upsert([update(a="3")])
        await store.upsert([update(a="3")])
        return first, await values(store)

    assert run(opened, tmp_path, main) == ({"a": (2, 10)}, {"a": (3, 10)})


@every_store
def test_each_value_comes_back_with_its_source(opened, tmp_path):
    async def sources(store):
        profile = await read(store, "c1")
        return {name: attribute.source for name, attribute in profile.attributes.items()}

    async def main(store):
        await store.upsert([update(source="crm", a="1", b="1"), update(at=20, source="partner", b="1")])
        first = await sources(store)
        await store.upsert([update(source="import", a="1")])
        return first, await sources(store)

    assert run(opened, tmp_path, main) == ({"a": "crm", "b": "partner"}, {"a": "import", "b": "partner"})


@every_store
def test_an_identity_belongs_to_one_customer(opened, tmp_path):
    async def main(store):
        first = await store.upsert([update("c1", cards=["1"]), update("c2", cards=["2", "1"], a="1")])
        again = await store.upsert([update("c1", cards=["1", "3"]), update("c2", cards=["4", "3"])])
        owners = [await owner_of(store, card) for card in "1234"]
        return first, again, owners, await read(store, "c2")

    first, again, owners, second = run(opened, tmp_path, main)
    assert first == [None, Taken((1,))]
    assert again == [None, Taken((1,))]
    assert owners == ["c1", None, "c1", None]
    assert second is None


@every_store
def test_consents_need_a_customer_and_receipts_are_recorded_once(opened, tmp_path):
    async def main(store):
        await store.upsert([update()])
        first = await store.record([consent("r1"), consent("r1"), consent("r2", customer_id="c2")])
        again = await store.record([consent("r1"), consent("r1", state=State.DENIED), consent("r3")])
        return first, again

    first, again = run(opened, tmp_path, main)
    assert first == [Recorded.NEW, Recorded.DUPLICATE, Recorded.CUSTOMER_UNKNOWN]
    assert again == [Recorded.DUPLICATE, Recorded.REUSED, Recorded.NEW]


@every_store
def test_the_newest_consent_of_each_channel_counts_as_of_a_time(opened, tmp_path):
    async def main(store):
        await store.upsert([update()])
        await store.record([consent("r1", at=10), consent("r2", at=30, state=State.DENIED)])
        await store.record([consent("r3", at=20), consent("r4", at=20, state=State.WITHDRAWN)])
        await store.record([consent("r5", at=25, channel="email", expire_time=99)])
        return [await receipts(store, before) for before in (10, 11, 21, 26, 31, None)]

    granted = {"mail": ("r1", State.GRANTED)}
    withdrawn = {"mail": ("r4", State.WITHDRAWN)}
    email = {"email": ("r5", State.GRANTED)}
    denied = {"mail": ("r2", State.DENIED)}
    expected = [{}, granted, withdrawn, withdrawn | email, denied | email, denied | email]
    assert run(opened, tmp_path, main) == expected


@every_store
def test_the_newest_consent_of_a_purpose_without_a_channel_counts_like_any_other(opened, tmp_path):
    async def main(store):
        await store.upsert([update()])
        await store.record([consent("r1", at=20), consent("r2", at=10, purpose="profiling", channel="")])
        await store.record([consent("r3", at=30, state=State.WITHDRAWN, purpose="profiling", channel="")])
        return [await receipts(store, before) for before in (25, None)]

    mail = {"mail": ("r1", State.GRANTED)}
    assert run(opened, tmp_path, main) == [
        mail | {"": ("r2", State.GRANTED)},
        mail | {"": ("r3", State.WITHDRAWN)},
    ]


@every_store
def test_a_consent_comes_back_whole(opened, tmp_path):
    async def main(store):
        await store.upsert([update()])
        await store.record([consent("r1", expire_time=99)])
        return (await read(store, "c1")).consents

    assert run(opened, tmp_path, main) == [consent("r1", expire_time=99)]


@every_store
def test_a_batch_is_read_in_order_by_id_and_by_identity(opened, tmp_path):
    async def main(store):
        batch = [update(f"c{number}", cards=[str(number)], a=str(number)) for number in range(120)]
        await store.upsert(batch)
        cards = [Identity("card", str(number)) for number in range(121)]
        keys = [key for number in range(121) for key in (f"c{number}", cards[number])]
        found = await store.read(keys, None)
        assert [None if one is None else one.attributes["a"].value for one in found] == [
            number for number in range(120) for _ in range(2)
        ] + [None] * 2
        assert await store.resolve(cards) == [f"c{number}" for number in range(120)] + [None]
        assert [one.customer_id for one in await store.read(["c7", "c7", cards[7]], None)] == ["c7"] * 3
        assert await store.read([], None) == await store.resolve([]) == []

    run(opened, tmp_path, main)


NAMES = ("a", "b", "c")
updates = st.builds(
    update,
    st.sampled_from(NAMES),
    at=st.integers(1, 3),
    cards=st.lists(st.sampled_from("12")),
    source=st.sampled_from(["crm", "import"]),
    plan=st.sampled_from(["1", '"\\u0000ä"', "null"]),
)
consents = st.builds(
    consent,
    st.sampled_from(["r1", "r2", "r3", "r4"]),
    customer_id=st.sampled_from(NAMES),
    at=st.integers(1, 3),
    state=st.sampled_from(State),
    channel=st.sampled_from(["mail", "email"]),
    expire_time=st.sampled_from([None, 50, 60]),
)
link_ids = st.sampled_from(["l1", "l2", "l3", "l4"])
calls = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.tuples(st.lists(updates))),
        st.tuples(st.just("record"), st.tuples(st.lists(consents))),
        st.tuples(
            st.just("link"),
            st.tuples(st.builds(link, link_ids, st.sampled_from(NAMES), st.sampled_from(NAMES))),
        ),
        st.tuples(st.just("link"), st.tuples(st.builds(unlink, link_ids, st.sampled_from(NAMES)))),
        st.tuples(
            st.just("erase"),
            st.tuples(
                st.lists(st.sampled_from(NAMES), min_size=1), st.integers(1, 3).map(lambda at: lambda: at)
            ),
        ),
    ),
    max_size=12,
)


@real_stores
def test_every_store_answers_as_the_fake_does(opened, tmp_path_factory):
    @settings(max_examples=60 if opened is sqlite else 25, deadline=None)
    @given(calls=calls)
    def holds(calls):
        async def main(store):
            expected = InMemoryProfiles()
            for method, arguments in calls:
                assert await getattr(store, method)(*arguments) == await getattr(expected, method)(*arguments)
            assert await everything(store, NAMES) == await everything(expected, NAMES)

        run(opened, tmp_path_factory.mktemp("store"), main)

    holds()


@real_stores
def test_a_large_batch_is_stored_whole(opened, tmp_path):
    async def main(store):
        batch = [update(f"c{number}", cards=[str(number)], a="1", b="2") for number in range(10_000)]
        answers = await store.upsert(batch) + await store.upsert(batch)
        recorded = [consent(f"r{number}", customer_id=f"c{number}") for number in range(10_000)]
        verdicts = await store.record(recorded) + await store.record(recorded)
        return answers, verdicts, await owner_of(store, "9999")

    answers, verdicts, owner = run(opened, tmp_path, main)
    assert answers == [None] * 20_000
    assert verdicts == [Recorded.NEW] * 10_000 + [Recorded.DUPLICATE] * 10_000
    assert owner == "c9999"


@real_stores
def test_others_run_while_a_large_batch_is_read(opened, tmp_path):
    async def main(store):
        await store.upsert([update(f"c{number}", a="1") for number in range(1_000)])
        turns = itertools.count()

        async def other():
            while True:
                next(turns)
                await asyncio.sleep(0)

        running = asyncio.create_task(other())
        await store.read([f"c{number}" for number in range(1_000)], None)
        running.cancel()
        return next(turns)

    assert run(opened, tmp_path, main) >= 10


def test_profiles_outlive_the_store_in_a_file(tmp_path):
    async def write(store):
        await store.upsert([update(a="1", cards=["1"])])
        await store.record([consent("r1")])

    async def found(store):
        return await owner_of(store, "1"), await values(store), await receipts(store)

    run(sqlite, tmp_path, write)
    assert run(sqlite, tmp_path, found) == ("c1", {"a": (1, 10)}, {"mail": ("r1", State.GRANTED)})


@real_stores
def test_a_full_disk_is_said_and_nothing_is_half_applied(opened, tmp_path):
    async def exercise(held):
        await held.store.upsert([update()])
        await held.fill_disk()
        with pytest.raises(StoreUnavailable, match="full"):
            await held.store.upsert([update(f"c{number}" * 20, a="1") for number in range(10_000)])
        assert await read(held.store, "c0" * 20) is None
        await held.free_disk()
        assert await held.store.upsert([update("c2", a="1")]) == [None]

    using(opened, tmp_path, exercise)


@real_stores
def test_a_full_queue_is_said_and_what_waits_is_still_applied(opened, tmp_path):
    async def exercise(held):
        async with held.queued(QUEUE - 1):
            waiting = asyncio.create_task(held.store.upsert([update("c1")]))
            await asyncio.sleep(0.05)
            with pytest.raises(StoreOverloaded):
                await held.store.record([consent("r1")])
        assert await waiting == [None]

    using(opened, tmp_path, exercise)


@real_stores
def test_a_read_amid_links_is_of_one_moment(opened, tmp_path):
    rounds = 60

    async def exercise(held):
        store = held.store
        await store.upsert([update("a", at=1, plan='"mine"'), update("b", at=2, plan='"other"')])
        await store.record([consent("r-a", customer_id="a"), consent("r-b", customer_id="b", channel="app")])
        over = asyncio.Event()

        async def change():
            for number in range(rounds):
                await store.link(link(f"l-{number}", "a", "b"))
                await store.link(unlink(f"u-{number}", "b"))
            over.set()

        async def look():
            seen = set()
            while not over.is_set():
                one, two = await store.read(["a", "b"], None)
                for profile in (one, two):
                    is_one = len(profile.members) == 2
                    assert (profile.version % 2 == 1) is is_one
                    assert (len(profile.consents) == 2) is is_one
                    assert profile.attributes["plan"].value == (
                        "other" if is_one or profile is two else "mine"
                    )
                    seen.add(is_one)
                await asyncio.sleep(0)
            return seen

        changing = asyncio.create_task(change())
        assert {True, False} == set().union(*await asyncio.gather(*(look() for _ in range(2))))
        await changing

    using(opened, tmp_path, exercise)
