"""What every store of events promises, and what single ones add."""

import asyncio
import contextlib
import itertools
import threading

import pytest
from databases import administrator, emptied, shared_postgresql, terminate
from event_stores import (
    every_real_store,
    every_store,
    fake,
    postgresql_store,
    sqlite,
    sqlite_store,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.tables import InvalidRow
from services.features.adapters.store_lock import StoreInUse, exclusive
from services.features.adapters.tables import TABLES
from services.features.domain.events import Event
from services.features.domain.placement import Placed, Reused
from services.features.domain.states import ALWAYS, Version
from services.features.ports import StoreOverloaded, StoreUnavailable, Want

EVENTS = TABLES[0]
NEW, OLD = False, True


def event(event_id, *, customer_id="c1", event_time=1_000, attributes="{}", event_type="visit"):
    return Event(
        event_id=event_id,
        customer_id=customer_id,
        type=event_type,
        event_time=event_time,
        attributes=attributes,
    )


async def read(store, customer_id="c1", *, after=0, until=None, floor=ALWAYS):
    """Return the newest sequence, and a customer's events in the order of their times."""
    (version,), newest = await store.versions([customer_id])
    until = version.sequence if until is None else until
    (found,) = await store.load([Want(customer_id, {"visit": floor}, after, until)])
    found.sort(key=lambda stored: (stored.event_time, stored.event_id))
    return newest, [(stored.event_id, stored.event_time, stored.attributes) for stored in found]


async def ids(store, customer_id="c1", **options):
    return [event_id for event_id, *_ in (await read(store, customer_id, **options))[1]]


@contextlib.asynccontextmanager
async def shared(opened, folder):
    """Open a store as often as its kind may be opened at once."""
    async with opened(folder) as first:
        if opened is sqlite:
            yield [first]
        else:
            async with opened(folder) as second:
                yield [first, second]


def using(opened, folder, main):
    async def opening():
        async with opened(folder) as store:
            return await main(store)

    return asyncio.run(opening())


@every_store
def test_a_new_store_is_empty(opened, tmp_path):
    async def main(store):
        assert await store.newest() == 0
        assert await store.versions(["c1"]) == ([Version(0, 0)], 0)
        assert await store.versions([]) == ([], 0)
        assert await store.load([Want("c1", {"visit": ALWAYS}, 0, 9)]) == [[]]
        assert await store.load([]) == []
        assert (await store.append([])).newest == 0

    using(opened, tmp_path, main)


@every_store
def test_what_was_appended_is_read_by_customer(opened, tmp_path):
    async def main(store):
        await store.append(
            [
                event("late", event_time=3, attributes='{"a":"ä\\u0000\\"","b":1.5,"c":true}'),
                event("other", customer_id="c2"),
                event("early", event_time=1),
                event("also-late", event_time=3),
            ]
        )
        assert await store.versions(["c2", "nobody", "c1"]) == (
            [Version(0, 2), Version(0, 0), Version(0, 4)],
            4,
        )
        return await read(store), await read(store, "c2")

    first, second = using(opened, tmp_path, main)
    assert first == (
        4,
        [("early", 1, {}), ("also-late", 3, {}), ("late", 3, {"a": 'ä\0"', "b": 1.5, "c": True})],
    )
    assert second == (4, [("other", 1_000, {})])


@every_store
def test_a_number_that_is_written_otherwise_is_the_same_and_a_truth_is_none(opened, tmp_path):
    async def main(store):
        texts = ('{"n":3}', '{"n":3.0}', '{"n":3.5}', '{"n":1}', '{"n":true}', '{"m":3}')
        return [(await store.append([event("a", attributes=text)])).answers[0] for text in texts]

    assert using(opened, tmp_path, main) == [Placed(1, NEW), Placed(1, OLD), *[Reused()] * 4]


@every_real_store
@pytest.mark.parametrize("text", ['{"n":1e400}', '{"n":{"m":1}}', '{"n":[]}', '{"n":null}', "[1]", "3"])
def test_attributes_that_nobody_can_have_stored_break_the_store_for_their_customer(opened, text, tmp_path):
    async def main(store):
        await store.append([event("a"), event("b", customer_id="c2", attributes=text)])
        with pytest.raises(StoreUnavailable):
            await read(store, "c2")
        return await read(store)

    assert using(opened, tmp_path, main) == (2, [("a", 1_000, {})])


@every_real_store
def test_customers_share_the_names_in_their_events(opened, tmp_path):
    async def main(store):
        await store.append(
            [event(name, customer_id=name, attributes='{"amount":1}') for name in ("c1", "c2")]
        )
        (one,), (other,) = await store.load([Want(name, {"visit": ALWAYS}, 0, 9) for name in ("c1", "c2")])
        return (one.type, *one.attributes), (other.type, *other.attributes)

    one, other = using(opened, tmp_path, main)
    assert one == ("visit", "amount")
    assert all(a is b for a, b in zip(one, other, strict=True))


@every_store
def test_only_what_is_wanted_is_loaded(opened, tmp_path):
    async def main(store):
        await store.append([event(f"e{n}", event_time=n) for n in (5, 1, 4, 2, 3)])
        await store.append([event("call", event_type="call", event_time=9), event("x", customer_id="c2")])
        wants = [
            Want("c1", {"visit": 3}, 0, 99),
            Want("c1", {"visit": ALWAYS}, 2, 4),
            Want("c2", {"visit": ALWAYS}, 0, 99),
            Want("c1", {"visit": 5, "call": ALWAYS}, 0, 99),
            Want("c1", {}, 0, 99),
            Want("c1", {"call": 10}, 0, 99),
            Want("nobody", {"visit": ALWAYS}, 0, 99),
        ]
        return [sorted(stored.event_id for stored in found) for found in await store.load(wants)]

    assert using(opened, tmp_path, main) == [
        ["e3", "e4", "e5"],
        ["e2", "e4"],
        ["x"],
        ["call", "e5"],
        [],
        [],
        [],
    ]


@every_store
def test_an_event_is_stored_once(opened, tmp_path):
    async def main(store):
        first = await store.append([event("a"), event("b"), event("a"), event("b", event_time=2)])
        again = await store.append([event("b"), event("c"), event("a", attributes='{"x":1}')])
        return first, again, await ids(store)

    first, again, stored = using(opened, tmp_path, main)
    assert list(first.answers) == [Placed(1, NEW), Placed(2, NEW), Placed(1, OLD), Reused()]
    assert list(again.answers) == [Placed(2, OLD), Placed(3, NEW), Reused()]
    assert (first.newest, again.newest) == (2, 3)
    assert stored == ["a", "b", "c"]


small_batches = st.lists(
    st.lists(
        st.builds(
            event,
            st.sampled_from(["a", "b", "ü", "d"]),
            customer_id=st.sampled_from(["c1", "c2"]),
            event_time=st.integers(0, 3),
        )
    )
    | st.sets(st.sampled_from(["c1", "c2"]), min_size=1),
    max_size=5,
)


@every_real_store
@settings(max_examples=40, deadline=None)
@given(batches=small_batches)
def test_real_stores_answer_as_the_fake_does(opened, batches, tmp_path_factory):
    async def main():
        folder = tmp_path_factory.mktemp("store")
        async with fake(folder) as expected, opened(folder) as store:
            for batch in batches:
                if isinstance(batch, set):
                    assert await store.erase(sorted(batch), lambda: 5) == await expected.erase(
                        sorted(batch), lambda: 5
                    )
                else:
                    mine, theirs = await store.append(batch), await expected.append(batch)
                    assert (list(mine.answers), mine.newest) == (list(theirs.answers), theirs.newest)
                assert await store.versions(["c1", "c2"]) == await expected.versions(["c1", "c2"])
                for customer_id in ("c1", "c2"):
                    assert await read(store, customer_id) == await read(expected, customer_id)
                    mine, theirs = (
                        await store.export([customer_id], ""),
                        await expected.export([customer_id], ""),
                    )
                    assert list(mine.rows) == list(theirs.rows)

    asyncio.run(main())


@every_real_store
def test_a_large_batch_is_stored_whole(opened, tmp_path):
    async def main(store):
        batch = [event(f"e{number}", event_time=number) for number in range(10_000)]
        return await store.append(batch), await store.append(batch), len(await ids(store))

    appended, again, stored = using(opened, tmp_path, main)
    assert [answer.sequence for answer in appended.answers] == list(range(1, 10_001))
    assert all(answer.duplicate for answer in again.answers)
    assert stored == 10_000


@every_real_store
def test_events_outlive_the_store(opened, tmp_path):
    async def first(store):
        await store.append([event("a"), event("b", customer_id="c2")])
        await store.erase(["c2"], lambda: 5)
        return await store.store_id()

    async def second(store):
        again = await store.append([event("a"), event("c")])
        return await store.store_id(), list(again.answers), await ids(store), await store.versions(["c2"])

    known = using(opened, tmp_path, first)
    assert using(opened, tmp_path, second) == (
        known,
        [Placed(1, OLD), Placed(4, NEW)],
        ["a", "c"],
        ([Version(3, 0)], 4),
    )


@every_real_store
def test_no_two_stores_have_one_id(opened, tmp_path):
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
    assert len({using(opened, folder, lambda store: store.store_id()) for folder in folders}) == 2


@every_real_store
def test_who_reads_a_sequence_sees_all_up_to_it_while_others_write(opened, tmp_path):
    async def main():
        acknowledged, seen = {}, []
        writing = 4

        async def write(store, writer):
            nonlocal writing
            for number in range(30):
                batch = [event(f"{writer}-{number}-{part}", event_time=number) for part in range(3)]
                batch.append(event(f"{writer}-{number}", customer_id="c2"))
                appended = await store.append(batch)
                acknowledged.update(zip((e.event_id for e in batch), appended.answers, strict=True))
                assert set(await ids(store)) >= {e.event_id for e in batch[:3]}
            writing -= 1

        async def watch(store):
            while writing:
                newest, events = await read(store)
                seen.append((newest, {event_id for event_id, *_ in events}))
                await asyncio.sleep(0)

        async with shared(opened, tmp_path) as stores, asyncio.TaskGroup() as tasks:
            tasks.create_task(watch(stores[0]))
            for writer in range(4):
                tasks.create_task(write(stores[writer % len(stores)], writer))
        return acknowledged, seen

    acknowledged, seen = asyncio.run(main())
    assert sorted(placed.sequence for placed in acknowledged.values()) == list(range(1, 4 * 30 * 4 + 1))
    mine = {event_id: placed for event_id, placed in acknowledged.items() if event_id.count("-") == 2}
    for newest, events in seen:
        assert events == {event_id for event_id, placed in mine.items() if placed.sequence <= newest}


@every_store
def test_an_erasure_takes_all_of_a_customer_and_nothing_else(opened, tmp_path):
    async def main(store):
        await store.append(
            [event("a"), event("b", customer_id="c2"), event("c"), event("d", customer_id="c3")]
        )
        erased = await store.erase(["c1", "c3", "nobody", "c1"], lambda: 7)
        again = await store.erase(["c1"], lambda: 8)
        assert (erased.rows["events"], erased.sequence, again.rows["events"]) == (3, 5, 0)
        assert await store.versions(["c1", "c2", "c3"]) == ([Version(6, 0), Version(0, 2), Version(5, 0)], 6)
        assert [await ids(store, each) for each in ("c1", "c2", "c3")] == [[], ["b"], []]
        # An erased id is as good as one that was never used.
        appended = await store.append([event("a", event_time=5)])
        assert list(appended.answers) == [Placed(7, NEW)]
        assert await store.versions(["c1"]) == ([Version(6, 7)], 7)

    using(opened, tmp_path, main)


@every_store
def test_an_export_holds_every_event_of_the_customer_once(opened, tmp_path):
    async def main(store):
        batch = [
            event(f"e{n}", customer_id=f"c{n % 3}", attributes='{"t":"' + "x" * 5_000 + '"}')
            for n in range(900)
        ]
        await store.append(batch)
        rows, token = [], ""
        while True:
            page = await store.export(["c1", "c2"], token)
            rows += page.rows
            if not (token := page.next_token):
                return batch, rows

    batch, rows = using(opened, tmp_path, main)
    assert {table for table, _ in rows} == {"events"}
    assert [EVENTS.decode(text) for _, text in rows] == [
        (n + 1, e.event_id, e.customer_id, e.type, e.event_time, e.attributes)
        for n, e in enumerate(batch)
        if e.customer_id != "c0"
    ]


@every_store
def test_a_token_of_no_export_is_refused(opened, tmp_path):
    async def main(store):
        with pytest.raises(InvalidRow, match="page_token"):
            await store.export(["c1"], "nonsense")

    using(opened, tmp_path, main)


@every_real_store
def test_tables_are_what_they_are_declared_to_be(opened, tmp_path):
    async def main(store):
        columns = "SELECT name FROM pragma_table_info(?)"
        if opened is sqlite:
            return {
                table.name: [
                    row[0] for row in store._database.read.execute(columns, (table.name,)).fetchall()
                ]
                for table in TABLES
            }
        with administrator(shared_postgresql()) as server:
            rows = server.execute(
                "SELECT table_name, column_name FROM information_schema.columns ORDER BY ordinal_position"
            ).fetchall()
        return {table.name: [column for name, column in rows if name == table.name] for table in TABLES}

    assert using(opened, tmp_path, main) == {table.name: list(table.columns) for table in TABLES}


@every_real_store
def test_a_cancelled_append_is_seen_whole_or_not_at_all(opened, tmp_path):
    async def main(store):
        await store.append([event("first")])
        for turns in itertools.chain(range(6), (50, 500)):
            pending = asyncio.create_task(store.append([event(f"a{turns}"), event(f"b{turns}")]))
            for _ in range(turns):
                await asyncio.sleep(0)
            pending.cancel()
            await asyncio.wait({pending})
            # Writes are done in order, so whatever became of the cancelled one is decided now.
            await store.append([event(f"after{turns}")])
            newest, events = await read(store)
            found = [event_id for event_id, *_ in events]
            assert len(found) == newest
            assert (f"a{turns}" in found) == (f"b{turns}" in found)

    using(opened, tmp_path, main)


def test_a_full_disk_is_said_and_nothing_is_half_stored(tmp_path):
    async def main():
        async with sqlite_store(tmp_path) as (store, database):
            await store.append([event("a")])
            pages = database.read.execute("PRAGMA page_count").fetchone()[0]
            await database.write(
                lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 4}")
            )
            with pytest.raises(StoreUnavailable, match="full"):
                await store.append([event(f"e{number}" * 20) for number in range(10_000)])
            return await read(store), await store.append([event("b")])

    (newest, stored), appended = asyncio.run(main())
    assert newest == len(stored) == 1
    assert list(appended.answers) == [Placed(2, NEW)]


def test_a_full_queue_is_said_and_what_waits_is_still_stored(tmp_path):
    async def main():
        async with sqlite_store(tmp_path, queue_limit=1) as (store, database):
            entered, released = threading.Event(), threading.Event()

            def hold(connection):
                entered.set()
                released.wait()

            holding = asyncio.create_task(database.write(hold))
            try:
                await asyncio.to_thread(entered.wait)
                waiting = asyncio.create_task(store.append([event("a")]))
                await asyncio.sleep(0)
                with pytest.raises(StoreOverloaded):
                    await store.append([event("b")])
            finally:
                released.set()
            await holding
            return await waiting

    assert list(asyncio.run(main()).answers) == [Placed(1, NEW)]


def test_while_another_holds_the_sequence_callers_wait_and_too_many_are_refused(tmp_path):
    url = emptied(shared_postgresql())

    async def main():
        async with postgresql_store(url, queue_limit=2) as (store, _):
            with administrator(url) as other:
                other.execute("BEGIN; SELECT newest FROM features.counter FOR UPDATE")
                first = asyncio.create_task(store.append([event("a")]))
                await asyncio.sleep(0.1)
                waiting = [asyncio.create_task(store.append([event(each)])) for each in "bc"]
                await asyncio.sleep(0)
                with pytest.raises(StoreOverloaded):
                    await store.append([event("d")])
                other.execute("COMMIT")
            return [await each for each in (first, *waiting)]

    appended = asyncio.run(main())
    assert [list(each.answers) for each in appended] == [[Placed(n, NEW)] for n in (1, 2, 3)]


def test_connections_that_end_in_mid_load_lose_and_double_nothing(tmp_path):
    url = emptied(shared_postgresql())

    async def main():
        acknowledged = []

        async def write(store, writer):
            for number in range(60):
                mine = event(f"{writer}-{number}")
                while True:
                    try:
                        (answer,) = (await store.append([mine])).answers
                    except StoreUnavailable:
                        continue
                    acknowledged.append(answer.sequence)
                    break

        async def break_connections(done):
            while not done.is_set():
                await asyncio.to_thread(terminate, url)
                await asyncio.sleep(0.03)

        async with postgresql_store(url) as (store, _):
            done = asyncio.Event()
            breaking = asyncio.create_task(break_connections(done))
            await asyncio.gather(*(write(store, writer) for writer in range(4)))
            done.set()
            await breaking
            return acknowledged, await read(store)

    acknowledged, (newest, stored) = asyncio.run(main())
    assert len(stored) == newest == 240
    assert sorted(acknowledged) == list(range(1, 241))


def test_a_store_is_served_by_one_process(tmp_path):
    store = tmp_path / "home" / "features.sqlite"
    with (
        exclusive(store),
        pytest.raises(StoreInUse, match=r"features\.sqlite is served by .*pid \d+"),
        exclusive(store),
    ):
        pass
    with exclusive(store):
        pass
