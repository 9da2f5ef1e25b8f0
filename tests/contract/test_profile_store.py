"""What every store of profiles promises, and what the SQLite one adds."""

import asyncio
import contextlib
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.sqlite import Database
from services.profile.adapters.sqlite_profiles import MIGRATIONS, SqliteProfiles
from services.profile.domain.consents import Consent, Recorded, State, Statement
from services.profile.domain.identities import Identity
from services.profile.domain.updates import Taken, Update
from services.profile.fakes import InMemoryProfiles
from services.profile.ports import StoreOverloaded, StoreUnavailable


@contextlib.asynccontextmanager
async def sqlite_store(folder, *, queue_limit=100):
    migrations = [path.read_text() for path in sorted(MIGRATIONS.glob("*.sql"))]
    async with Database.open(folder / "profile.sqlite", migrations, queue_limit=queue_limit) as database:
        yield SqliteProfiles(database), database


@contextlib.asynccontextmanager
async def real(folder):
    async with sqlite_store(folder) as (store, _):
        yield store


@contextlib.asynccontextmanager
async def fake(folder):
    yield InMemoryProfiles()


every_store = pytest.mark.parametrize("opened", [fake, real])


def update(customer_id="c1", *, at=10, cards=(), source="test", **attributes):
    return Update(
        customer_id=customer_id,
        attributes=attributes,
        identities=tuple(Identity("card", card) for card in cards),
        record_time=at,
        source=source,
    )


def consent(
    receipt_id,
    *,
    customer_id="c1",
    at=10,
    state=State.GRANTED,
    purpose="marketing",
    channel="mail",
    expire_time=None,
):
    statement = Statement(
        receipt_id=receipt_id,
        customer_id=customer_id,
        purpose=purpose,
        channel=channel,
        state=state,
        stated_time=at,
        expire_time=expire_time,
        source="test",
    )
    return Consent(statement=statement, record_time=at)


def run(opened, folder, main):
    async def opening():
        async with opened(folder) as store:
            return await main(store)

    return asyncio.run(opening())


async def values(store, before=None, customer_id="c1"):
    profile = await store.read(customer_id, before)
    return {name: (value, time) for name, (value, time, _) in profile.attributes.items()}


async def receipts(store, before=None, customer_id="c1"):
    profile = await store.read(customer_id, before)
    return {
        consent.statement.channel: (consent.statement.receipt_id, consent.statement.state)
        for consent in profile.consents
    }


@every_store
def test_an_unknown_customer_has_no_profile(opened, tmp_path):
    async def main(store):
        return await store.read("c1", None), await store.resolve(Identity("card", "1"))

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
        profile = await store.read("c1", None)
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
        owners = [await store.resolve(Identity("card", card)) for card in "1234"]
        return first, again, owners, await store.read("c2", None)

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
        return (await store.read("c1", None)).consents

    assert run(opened, tmp_path, main) == [consent("r1", expire_time=99)]


updates = st.builds(
    update,
    st.sampled_from(["c1", "c2"]),
    at=st.integers(1, 3),
    cards=st.lists(st.sampled_from("12")),
    source=st.sampled_from(["crm", "import"]),
    a=st.sampled_from(["1", "2", "null"]),
)
consents = st.builds(
    consent,
    st.sampled_from(["r1", "r2", "r3"]),
    customer_id=st.sampled_from(["c1", "c2"]),
    at=st.integers(1, 3),
    state=st.sampled_from(State),
    channel=st.sampled_from(["mail", "email"]),
)
calls = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(updates)), st.tuples(st.just("record"), st.lists(consents))
    ),
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(calls=calls)
def test_sqlite_answers_as_the_fake_does(calls, tmp_path_factory):
    async def main():
        async with fake(None) as expected, real(tmp_path_factory.mktemp("store")) as store:
            for method, items in calls:
                assert await getattr(store, method)(items) == await getattr(expected, method)(items)
            for customer_id in ("c1", "c2"):
                for before in (1, 2, 3, None):
                    assert await store.read(customer_id, before) == await expected.read(customer_id, before)

    asyncio.run(main())


def test_a_large_batch_is_stored_whole(tmp_path):
    async def main(store):
        batch = [update(f"c{number}", cards=[str(number)], a="1", b="2") for number in range(10_000)]
        answers = await store.upsert(batch) + await store.upsert(batch)
        recorded = [consent(f"r{number}", customer_id=f"c{number}") for number in range(10_000)]
        verdicts = await store.record(recorded) + await store.record(recorded)
        return answers, verdicts, await store.resolve(Identity("card", "9999"))

    answers, verdicts, owner = run(real, tmp_path, main)
    assert answers == [None] * 20_000
    assert verdicts == [Recorded.NEW] * 10_000 + [Recorded.DUPLICATE] * 10_000
    assert owner == "c9999"


def test_profiles_outlive_the_store(tmp_path):
    async def write(store):
        await store.upsert([update(a="1", cards=["1"])])
        await store.record([consent("r1")])

    async def read(store):
        return await store.resolve(Identity("card", "1")), await values(store), await receipts(store)

    run(real, tmp_path, write)
    assert run(real, tmp_path, read) == ("c1", {"a": (1, 10)}, {"mail": ("r1", State.GRANTED)})


def test_a_full_disk_is_said_and_nothing_is_half_applied(tmp_path):
    async def main():
        async with sqlite_store(tmp_path) as (store, database):
            await store.upsert([update()])
            pages = database.read.execute("PRAGMA page_count").fetchone()[0]
            await database.write(
                lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 4}")
            )
            with pytest.raises(StoreUnavailable, match="full"):
                await store.upsert([update(f"c{number}" * 20, a="1") for number in range(10_000)])
            return await store.read("c0" * 20, None), await store.upsert([update("c2")])

    assert asyncio.run(main()) == (None, [None])


def test_a_full_queue_is_said_and_what_waits_is_still_applied(tmp_path):
    async def main():
        async with sqlite_store(tmp_path, queue_limit=1) as (store, database):
            entered, released = threading.Event(), threading.Event()

            def hold(connection):
                entered.set()
                released.wait()

            holding = asyncio.create_task(database.write(hold))
            try:
                await asyncio.to_thread(entered.wait)
                waiting = asyncio.create_task(store.upsert([update("c1")]))
                await asyncio.sleep(0)
                with pytest.raises(StoreOverloaded):
                    await store.record([consent("r1")])
            finally:
                released.set()
            await holding
            return await waiting

    assert asyncio.run(main()) == [None]
