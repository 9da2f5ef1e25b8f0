"""What every store of events promises, and what the SQLite one adds."""

import asyncio
import contextlib
import itertools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.chassis.sqlite import Database
from services.features.adapters.history_cache import HistoryCache
from services.features.adapters.sqlite_events import MIGRATIONS, SqliteEvents
from services.features.adapters.store_lock import StoreInUse, exclusive
from services.features.domain.events import Event
from services.features.domain.placement import Placed, Reused
from services.features.fakes import InMemoryEvents
from services.features.metrics import FeatureMetrics
from services.features.ports import Snapshot, StoreOverloaded, StoreUnavailable


@contextlib.asynccontextmanager
async def sqlite_store(folder, *, cached_events=1_000, queue_limit=100):
    migrations = [path.read_text() for path in sorted(MIGRATIONS.glob("*.sql"))]
    async with Database.open(folder / "features.sqlite", migrations, queue_limit=queue_limit) as database:
        cache = HistoryCache(cached_events, FeatureMetrics(CollectorRegistry()))
        yield SqliteEvents(database, cache), database


@contextlib.asynccontextmanager
async def uncached(folder):
    async with sqlite_store(folder, cached_events=0) as (store, _):
        yield store


@contextlib.asynccontextmanager
async def cached(folder):
    async with sqlite_store(folder) as (store, _):
        yield store


@contextlib.asynccontextmanager
async def fake(folder):
    yield InMemoryEvents()


every_store = pytest.mark.parametrize("opened", [fake, cached, uncached])


def event(event_id, *, customer_id="c1", event_time=1_000, attributes="{}", event_type="visit"):
    return Event(
        event_id=event_id,
        customer_id=customer_id,
        type=event_type,
        event_time=event_time,
        attributes=attributes,
    )


def read(snapshot: Snapshot):
    return [
        (stored.event_id, stored.event_time, stored.attributes)
        for stored in snapshot.history.of("visit").events
    ]


@every_store
def test_a_new_store_is_empty(opened, tmp_path):
    async def main():
        async with opened(tmp_path) as store:
            return await store.newest(), await store.snapshot("c1"), await store.append([])

    newest, snapshot, appended = asyncio.run(main())
    assert (newest, snapshot.sequence, read(snapshot), appended.newest) == (0, 0, [], 0)


@every_store
def test_what_was_appended_is_read_in_time_order_by_customer(opened, tmp_path):
    async def main():
        async with opened(tmp_path) as store:
            await store.append(
                [
                    event("late", event_time=3, attributes='{"a":"ä\\u0000\\"","b":1.5,"c":true}'),
                    event("other", customer_id="c2"),
                    event("early", event_time=1),
                    event("also-late", event_time=3),
                ]
            )
            return await store.snapshot("c1"), await store.snapshot("c2")

    first, second = asyncio.run(main())
    assert read(first) == [
        ("early", 1, {}),
        ("also-late", 3, {}),
        ("late", 3, {"a": 'ä\0"', "b": 1.5, "c": True}),
    ]
    assert read(second) == [("other", 1_000, {})]
    assert first.sequence == second.sequence == 4


@every_store
def test_each_append_is_seen_by_the_next_read(opened, tmp_path):
    async def main():
        seen = []
        async with opened(tmp_path) as store:
            for number in range(5):
                await store.append([event(f"e{number}", event_time=number)])
                await store.append([event(f"x{number}", customer_id="c2")])
                snapshot = await store.snapshot("c1")
                seen.append((len(read(snapshot)), snapshot.sequence))
        return seen

    assert asyncio.run(main()) == [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10)]


@every_store
def test_an_event_is_stored_once(opened, tmp_path):
    async def main():
        async with opened(tmp_path) as store:
            first = await store.append([event("a"), event("b"), event("a"), event("b", event_time=2)])
            again = await store.append([event("b"), event("c"), event("a", attributes='{"x":1}')])
            return first, again, read(await store.snapshot("c1"))

    first, again, stored = asyncio.run(main())
    new, old = False, True
    assert list(first.answers) == [Placed(1, new), Placed(2, new), Placed(1, old), Reused()]
    assert list(again.answers) == [Placed(2, old), Placed(3, new), Reused()]
    assert (first.newest, again.newest) == (2, 3)
    assert [event_id for event_id, *_ in stored] == ["a", "b", "c"]


small_batches = st.lists(
    st.lists(
        st.builds(
            event,
            st.sampled_from(["a", "b", "ü", "d"]),
            customer_id=st.sampled_from(["c1", "c2"]),
            event_time=st.integers(0, 3),
        )
    ),
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(batches=small_batches)
def test_sqlite_answers_as_the_fake_does(batches, tmp_path_factory):
    async def main():
        folder = tmp_path_factory.mktemp("store")
        async with fake(folder) as expected, cached(folder) as store:
            for batch in batches:
                mine, theirs = await store.append(batch), await expected.append(batch)
                assert (list(mine.answers), mine.newest) == (list(theirs.answers), theirs.newest)
                for customer_id in ("c1", "c2"):
                    found, wanted = await store.snapshot(customer_id), await expected.snapshot(customer_id)
                    assert (read(found), found.sequence) == (read(wanted), wanted.sequence)

    asyncio.run(main())


def test_a_large_batch_is_stored_whole(tmp_path):
    async def main():
        async with cached(tmp_path) as store:
            batch = [event(f"e{number}", event_time=number) for number in range(10_000)]
            appended = await store.append(batch)
            again = await store.append(batch)
            return appended, again, len(read(await store.snapshot("c1")))

    appended, again, stored = asyncio.run(main())
    assert [answer.sequence for answer in appended.answers] == list(range(1, 10_001))
    assert all(answer.duplicate for answer in again.answers)
    assert stored == 10_000


def test_events_outlive_the_store(tmp_path):
    async def main():
        async with cached(tmp_path) as store:
            await store.append([event("a")])
        async with cached(tmp_path) as store:
            again = await store.append([event("a"), event("b")])
            return again, read(await store.snapshot("c1"))

    again, stored = asyncio.run(main())
    assert list(again.answers) == [Placed(1, duplicate=True), Placed(2, duplicate=False)]
    assert len(stored) == 2


def test_a_snapshot_reflects_its_sequence_exactly_while_others_write(tmp_path):
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
                own = {event_id for event_id, *_ in read(await store.snapshot("c1"))}
                assert own >= {e.event_id for e in batch[:3]}
            writing -= 1

        async def watch(store):
            while writing:
                snapshot = await store.snapshot("c1")
                seen.append((snapshot.sequence, {event_id for event_id, *_ in read(snapshot)}))
                await asyncio.sleep(0)

        async with cached(tmp_path) as store, asyncio.TaskGroup() as tasks:
            tasks.create_task(watch(store))
            for writer in range(4):
                tasks.create_task(write(store, writer))
        return acknowledged, seen

    acknowledged, seen = asyncio.run(main())
    mine = {event_id: placed for event_id, placed in acknowledged.items() if event_id.count("-") == 2}
    for sequence, events in seen:
        assert events == {event_id for event_id, placed in mine.items() if placed.sequence <= sequence}


def test_a_cancelled_append_is_seen_whole_or_not_at_all(tmp_path):
    async def main():
        async with cached(tmp_path) as store:
            await store.append([event("first")])
            for turns in itertools.chain(range(6), (50, 500)):
                await store.snapshot("c1")
                pending = asyncio.create_task(store.append([event(f"a{turns}"), event(f"b{turns}")]))
                for _ in range(turns):
                    await asyncio.sleep(0)
                pending.cancel()
                await asyncio.wait({pending})
                # Writes are done in order, so whatever became of the cancelled one is decided now.
                await store.append([event(f"after{turns}")])
                snapshot = await store.snapshot("c1")
                found = [event_id for event_id, *_ in read(snapshot)]
                assert len(found) == snapshot.sequence
                assert (f"a{turns}" in found) == (f"b{turns}" in found)

    asyncio.run(main())


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
            return await store.newest(), read(await store.snapshot("c1")), await store.append([event("b")])

    newest, stored, appended = asyncio.run(main())
    assert newest == 1
    assert len(stored) == 1
    assert list(appended.answers) == [Placed(2, duplicate=False)]


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

    assert list(asyncio.run(main()).answers) == [Placed(1, duplicate=False)]


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
