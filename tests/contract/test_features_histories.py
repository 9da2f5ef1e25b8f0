"""Customers are read as they are in the store, whatever is held of them, in every pair of stores."""

import asyncio
import contextlib
import math

import numpy as np
import pytest
from event_stores import every_pair, fake, metrics, postgresql, process, redis, sqlite
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.engine.features.feature_set import FeatureSet
from services.engine.features.history import StoredEvent
from services.features.adapters.process_state import ProcessState
from services.features.domain.events import Event
from services.features.domain.states import ALWAYS, State, Version
from services.features.histories import Asked, Histories
from tests.playbooks import load_playbook

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOW = 20_000 * DAY
REACH = {"visit": 7 * DAY, "call": None}


def event(event_id, *, customer_id="c1", at=NOW - HOUR, kind="visit"):
    return Event(event_id=event_id, customer_id=customer_id, type=kind, event_time=at, attributes="{}")


def seen(snapshot, as_of=NOW, reach=REACH):
    """Return the ids that features may look at, by type."""
    found = {}
    for kind, back in reach.items():
        low = -math.inf if back is None else as_of - back
        events = snapshot.history.of(kind).events
        found[kind] = [each.event_id for each in events if low <= each.event_time < as_of]
    return found


class Counted:
    """A store that counts what is loaded from it."""

    def __init__(self, store):
        self._store, self.wants = store, []

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def load(self, wants):
        self.wants += wants
        return await self._store.load(wants)


@contextlib.asynccontextmanager
async def reading(opened, held, folder, most_events=1_000):
    async with opened(folder) as store, held() as state:
        counted = Counted(store)
        yield counted, state, Histories(counted, state, most_events, metrics())


def using(opened, held, folder, main, **options):
    async def run():
        async with reading(opened, held, folder, **options) as given:
            return await main(*given)

    return asyncio.run(run())


every_holding_pair = pytest.mark.parametrize(("opened", "held"), [(sqlite, process), (postgresql, redis)])


@every_pair
def test_each_append_is_seen_by_the_next_read(opened, held, tmp_path):
    async def main(store, state, histories):
        for number in range(1, 6):
            await store.append([event(f"e{number}", at=NOW - number)])
            await store.append([event(f"x{number}", customer_id="c2")])
            (snapshot,) = await histories.read([Asked(("c1",), NOW)], REACH)
            assert (len(seen(snapshot)["visit"]), snapshot.sequence) == (number, 2 * number)

    using(opened, held, tmp_path, main)


@every_holding_pair
def test_what_is_held_is_not_loaded_again_and_only_what_was_added_is(opened, held, tmp_path):
    async def main(store, state, histories):
        await store.append([event(f"e{number}") for number in range(5)])
        for _ in range(3):
            await histories.read([Asked(("c1", "nobody"), NOW)], REACH)
        assert [(want.after, want.until) for want in store.wants] == [(0, 5)]
        await store.append([event("late", at=NOW - 6 * DAY), event("too-late", at=NOW - 8 * DAY)])
        (snapshot,) = await histories.read([Asked(("c1",), NOW)], REACH)
        assert [(want.after, want.until) for want in store.wants[1:]] == [(5, 7)]
        return seen(snapshot)["visit"]

    assert using(opened, held, tmp_path, main) == ["late", "e0", "e1", "e2", "e3", "e4"]


@every_holding_pair
def test_what_no_window_needs_is_not_held(opened, held, tmp_path):
    async def main(store, state, histories):
        await store.append(
            [
                event(f"{kind}-{days}", at=NOW - days * DAY, kind=kind)
                for days in range(20)
                for kind in ("visit", "call", "noise")
            ]
        )
        await histories.read([Asked(("c1",), NOW)], REACH)
        (first,) = await state.get(["c1"])
        await histories.read([Asked(("c1",), NOW + 5 * DAY)], REACH)
        (later,) = await state.get(["c1"])
        assert len(store.wants) == 1
        return [[f"{e.event_id}" for e in each.events if e.type != "call"] for each in (first, later)]

    first, later = using(opened, held, tmp_path, main)
    assert sorted(first) == sorted(f"visit-{days}" for days in range(8))
    assert sorted(later) == sorted(f"visit-{days}" for days in range(3))


@every_holding_pair
def test_who_has_too_many_events_is_read_whole_and_not_held(opened, held, tmp_path):
    async def main(store, state, histories):
        await store.append([event(f"e{number}") for number in range(11)])
        for number in range(11, 14):
            (snapshot,) = await histories.read([Asked(("c1",), NOW)], REACH)
            assert len(seen(snapshot)["visit"]) == number
            assert not any(each.events for each in await state.get(["c1"]) if each)
            await store.append([event(f"e{number}")])
        assert [want.after for want in store.wants] == [0, 0, 0]

    using(opened, held, tmp_path, main, most_events=10)


@every_holding_pair
def test_a_customer_with_events_all_the_time_is_held_within_its_windows_for_ever(opened, held, tmp_path):
    async def main(store, state, histories):
        for hour in range(0, 24 * 40, 4):
            await store.append([event(f"e{hour}", at=NOW + hour * HOUR)])
            (snapshot,) = await histories.read([Asked(("c1",), NOW + (hour + 1) * HOUR)], {"visit": DAY})
            assert len(seen(snapshot, NOW + (hour + 1) * HOUR, {"visit": DAY})["visit"]) == min(
                hour // 4 + 1, 6
            )
            (found,) = await state.get(["c1"])
            assert 0 < len(found.events) <= 20
        assert [want.after for want in store.wants[1:]] == list(range(1, 24 * 10))

    using(opened, held, tmp_path, main, most_events=20)


@every_holding_pair
def test_a_state_that_is_trimmed_claims_nothing_that_it_does_not_hold(opened, held, tmp_path):
    half, wider = HOUR // 2, {"visit": 50 * HOUR + HOUR // 2}

    async def main(store, state, histories):
        # Below the floor of the first state, and within reach of the last read.
        await store.append([event("v", at=NOW - 25 * HOUR - half // 2)])
        await histories.read([Asked(("c1",), NOW)], {"visit": DAY})
        await histories.read([Asked(("c1",), NOW + 26 * HOUR)], wider)
        early = NOW + 25 * HOUR
        (snapshot,) = await histories.read([Asked(("c1",), early)], wider)
        return seen(snapshot, early, wider)["visit"]

    assert using(opened, held, tmp_path, main) == ["v"]


class Interrupted(Counted):
    """A store of which a customer is erased just before its events are loaded, once."""

    async def load(self, wants):
        if not self.wants:
            self.wants += wants
            await self._store.erase(["c1"], lambda: NOW)
        return await super().load(wants)


@every_holding_pair
def test_a_read_amid_an_erasure_is_of_one_moment(opened, held, tmp_path):
    async def main(store, state, histories):
        await store.append([event("a"), event("b", customer_id="c2")])
        amid = Histories(Interrupted(store._store), state, 1_000, metrics())
        first, second = await amid.read([Asked(("c1",), NOW), Asked(("c2",), NOW)], REACH)
        assert (seen(first)["visit"], seen(second)["visit"]) == ([], ["b"])
        assert first.sequence == second.sequence == 3
        assert not any(each.events for each in await state.get(["c1"]) if each)

    using(opened, held, tmp_path, main)


def test_who_was_erased_by_another_process_is_let_go_of_at_the_next_read(tmp_path):
    async def main(store, state, histories):
        await store.append([event("a")])
        await histories.read([Asked(("c1",), NOW)], REACH)
        await store.erase(["c1"], lambda: NOW)
        await histories.read([Asked(("c1",), NOW)], REACH)
        (found,) = await state.get(["c1"])
        return list(found.events)

    assert using(sqlite, process, tmp_path, main) == []


@every_holding_pair
def test_a_read_of_the_past_or_by_a_farther_look_loads_what_it_lacks(opened, held, tmp_path):
    async def main(store, state, histories):
        await store.append([event(f"e{days}", at=NOW - days * DAY) for days in range(1, 30)])
        await histories.read([Asked(("c1",), NOW)], REACH)
        past, farther = NOW - 10 * DAY, {**REACH, "visit": 20 * DAY}
        (old,) = await histories.read([Asked(("c1",), past)], REACH)
        (wide,) = await histories.read([Asked(("c1",), NOW)], farther)
        (again,) = await histories.read([Asked(("c1",), past)], REACH)
        assert seen(old, past)["visit"] == seen(again, past)["visit"] == [f"e{d}" for d in range(17, 10, -1)]
        assert len(seen(wide, NOW, farther)["visit"]) == 20

    using(opened, held, tmp_path, main)


@every_holding_pair
def test_members_are_added_up_and_are_single_again_afterwards(opened, held, tmp_path):
    async def main(store, state, histories):
        await store.append(
            [event("a"), event("b", customer_id="c2"), event("c", customer_id="c3", kind="call")]
        )
        both, first, all_three = await histories.read(
            [Asked(("c1", "c2"), NOW), Asked(("c1",), NOW), Asked(("c3", "c2", "c1"), NOW)], REACH
        )
        assert seen(both)["visit"] == ["a", "b"]
        assert seen(first)["visit"] == ["a"]
        assert seen(all_three) == {"visit": ["a", "b"], "call": ["c"]}
        assert len(store.wants) == 3

    using(opened, held, tmp_path, main)


@every_holding_pair
def test_state_of_a_version_that_the_store_does_not_hold_is_not_used(opened, held, tmp_path):
    async def main(store, state, histories):
        await store.append([event("a")])
        ghost = StoredEvent(event_id="ghost", type="visit", event_time=NOW - HOUR, attributes={})
        for version in (Version(0, 9), Version(7, 1)):
            await state.put({"c1": State(version, 0, {"visit": ALWAYS, "call": ALWAYS}, [ghost])})
            (snapshot,) = await histories.read([Asked(("c1",), NOW)], REACH)
            assert seen(snapshot)["visit"] == ["a"]

    using(opened, held, tmp_path, main)


@every_holding_pair
def test_all_that_is_held_may_vanish_at_any_time(opened, held, tmp_path):
    async def main(store, state, histories):
        await store.append([event("a"), event("b", customer_id="c2")])
        for _ in range(3):
            for snapshot in await histories.read([Asked(("c1",), NOW), Asked(("c2",), NOW)], REACH):
                assert len(seen(snapshot)["visit"]) == 1
            await wipe(state)

    using(opened, held, tmp_path, main)


async def wipe(state):
    """Lose all that is held, as Redis does when it is emptied."""
    if isinstance(state, ProcessState):
        state._held.clear()
        state._events = 0
    else:
        keys = [key async for key in state._redis.scan_iter(match=f"{state._prefix}*")]
        if keys:
            await state._redis.delete(*keys)


def test_a_feature_that_is_added_is_filled_from_the_log_while_both_versions_are_read(tmp_path):
    """Reads by the old and the new version go on throughout, each whole."""
    from services.engine.moments import Moment
    from services.features.domain.events import IncomingEvent
    from services.features.handlers import FeatureHandlers, Key

    def count(days):
        return {"kind": "count", "event": "order", "window": f"{days}d"}

    old = load_playbook(tmp_path / "old", ("features", "features", "orders_1d", count(1)))
    new = load_playbook(
        tmp_path / "new",
        ("features", "features", "orders_1d", count(1)),
        ("features", "features", "orders_300d", count(300)),
    )

    async def main():
        async with sqlite(tmp_path) as store, process() as state:
            handlers = FeatureHandlers(store, state, old, lambda: NOW, metrics())
            orders = [
                IncomingEvent(
                    event_id=f"e{days}",
                    customer_id="c1",
                    type="order",
                    event_time=Moment((NOW - days * DAY - HOUR) // 1_000_000, 0),
                    attributes={},
                )
                for days in range(400)
            ]
            await handlers.ingest(orders)

            async def numbers(playbook):
                (vectors,), _ = await handlers.vectors(
                    [Key(customer_id="c1", as_of_time=None, action_ids=())], playbook.version, 400
                )
                return dict(zip(FeatureSet(playbook).customer_names, vectors.customer, strict=True))

            before = [await numbers(old) for _ in range(3)]
            await handlers.take(new)
            after = [await numbers(playbook) for playbook in (old, new, old, new)]
            return before, after

    before, after = asyncio.run(main())
    for found in before + after[::2]:
        np.testing.assert_equal(found, before[0])
    assert before[0]["orders_1d"] == after[1]["orders_1d"] == 1
    assert after[1]["orders_300d"] == after[3]["orders_300d"] == 300


CUSTOMERS = ("c1", "c2")
TIMES = st.integers(-12 * 24, 2).map(lambda hours: NOW + hours * HOUR)


class Reader(RuleBasedStateMachine):
    """Two readers of one store, of which one holds state, while events come in any order and customers go."""

    kinds = (fake, process)

    @initialize()
    def open(self):
        self.loop = asyncio.new_event_loop()
        self.stack = contextlib.AsyncExitStack()
        self.number = 0
        self.kept = {}
        opened, held = self.kinds
        self.store = self.loop.run_until_complete(self.stack.enter_async_context(opened(self.folder())))
        self.state = self.loop.run_until_complete(self.stack.enter_async_context(held()))
        self.histories = Histories(self.store, self.state, 20, metrics())

    def folder(self):
        return self.factory.mktemp("store")

    @rule(
        events=st.lists(
            st.tuples(st.sampled_from(CUSTOMERS), TIMES, st.sampled_from(["visit", "call", "noise"])),
            max_size=6,
        ),
        again=st.booleans(),
    )
    def append(self, events, again):
        batch = []
        for customer_id, at, kind in events:
            self.number += 1
            batch.append(event(f"e{self.number}", customer_id=customer_id, at=at, kind=kind))
        for each in batch * (1 + again):
            self.kept[each.event_id] = each
        self.loop.run_until_complete(self.store.append(batch * (1 + again)))

    @rule(customer_id=st.sampled_from(CUSTOMERS))
    def erase(self, customer_id):
        erased = self.loop.run_until_complete(self.store.erase([customer_id], lambda: NOW))
        self.loop.run_until_complete(self.state.forget([customer_id], erased.sequence))
        self.kept = {key: each for key, each in self.kept.items() if each.customer_id != customer_id}

    @rule()
    def wipe(self):
        self.loop.run_until_complete(wipe(self.state))

    @rule(
        members=st.sampled_from([("c1",), ("c2",), ("c1", "c2")]),
        as_of=TIMES,
        reach=st.sampled_from([REACH, {"visit": 3 * DAY}, {"visit": None, "call": DAY, "noise": 2 * HOUR}]),
    )
    def read(self, members, as_of, reach):
        (snapshot,) = self.loop.run_until_complete(self.histories.read([Asked(members, as_of)], reach))
        for kind, found in seen(snapshot, as_of, reach).items():
            low = -math.inf if reach[kind] is None else as_of - reach[kind]
            assert found == [
                each.event_id
                for each in sorted(self.kept.values(), key=lambda each: (each.event_time, each.event_id))
                if each.customer_id in members and each.type == kind and low <= each.event_time < as_of
            ]

    @invariant()
    def the_newest_sequence_is_the_stores(self):
        if hasattr(self, "loop"):
            (snapshot,) = self.loop.run_until_complete(self.histories.read([Asked(("c1",), NOW)], {}))
            assert snapshot.sequence == self.loop.run_until_complete(self.store.newest())

    def teardown(self):
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.stack.aclose())
            self.loop.close()


@pytest.mark.parametrize(
    ("opened", "held", "examples"), [(fake, process, 60), (sqlite, process, 30), (postgresql, redis, 20)]
)
def test_reads_are_what_an_obvious_reader_finds(opened, held, examples, tmp_path_factory):
    machine = type("Machine", (Reader,), {"kinds": (opened, held), "factory": tmp_path_factory})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
