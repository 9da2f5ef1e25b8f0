"""What every store of state promises, and what single ones add."""

import asyncio
import contextlib
import itertools
import signal
import subprocess
import zlib
from pathlib import Path

import pytest
import redis as client
from event_stores import TTL_SECONDS, every_state, metrics, process
from own_servers import own_redis
from redises import SERVER, prefix

from services.chassis.deadline import answering
from services.chassis.tables import tombstone
from services.engine.features.history import StoredEvent
from services.features.adapters import redis_state
from services.features.adapters.process_state import ProcessState
from services.features.adapters.redis_state import RedisState
from services.features.domain.states import ALWAYS, State, Version
from services.features.ports import StoreUnavailable

FLOORS = {"visit": ALWAYS, "call": 7}


def event(number, **attributes):
    return StoredEvent(event_id=f"e{number}", type="visit", event_time=number, attributes=attributes)


def state(count=1, *, change=0, sequence=1, floors=FLOORS):
    events = [event(number, text='ä\0"', half=0.5, whole=2**53, flag=True) for number in range(count)]
    return State(Version(change, sequence), 5, floors, events)


def content(found):
    return None if found is None else (found.version, found.since, found.floors, list(found.events))


def using(held, main, **options):
    async def opening():
        async with held(**options) as opened:
            return await main(opened)

    return asyncio.run(opening())


@every_state
def test_what_is_put_is_held_as_it_was(held):
    async def main(store):
        states = {"c1": state(3), "ü/2": state(0, sequence=2**40), "c3": state(200, change=5)}
        await store.put(states)
        found = await store.get(["c3", "nobody", "c1", "ü/2"])
        return [content(each) for each in found], [
            content(states.get(each)) for each in ("c3", "", "c1", "ü/2")
        ]

    found, expected = using(held, main)
    assert found == expected


@every_state
def test_nothing_is_held_at_first(held):
    async def main(store):
        await store.put({})
        return await store.get(["c1"]), await store.describe()

    found, described = using(held, main)
    assert found == [None]
    assert (described.bytes_per_customer, described.unavailable) == (None, "")


@every_state
@pytest.mark.parametrize(
    ("version", "stays"),
    [
        (Version(3, 11), True),
        (Version(3, 10), True),
        (Version(3, 9), False),
        (Version(2, 99), False),
        (Version(4, 1), True),
    ],
)
def test_a_later_version_is_not_replaced_by_an_earlier_one(held, version, stays):
    async def main(store):
        await store.put({"c1": state(1, change=3, sequence=10)})
        await store.put({"c1": state(2, change=version.change, sequence=version.sequence)})
        return (await store.get(["c1"]))[0]

    found = using(held, main)
    assert (len(found.events), found.version) == ((2, version) if stays else (1, Version(3, 10)))


@every_state
def test_what_is_forgotten_is_gone_and_a_read_that_began_before_does_not_bring_it_back(held):
    async def main(store):
        await store.put({"c1": state(3, change=1, sequence=5), "c2": state()})
        await store.forget(["c1", "nobody"], 9)
        await store.put({"c1": state(3, change=1, sequence=8)})
        gone, other = await store.get(["c1", "c2"])
        assert gone is None or not gone.events
        assert other.events
        await store.put({"c1": state(1, change=9, sequence=12)})
        return (await store.get(["c1"]))[0]

    assert using(held, main).version == Version(9, 12)


@every_state
def test_it_tells_how_much_is_held(held):
    async def main(store):
        await store.put({f"c{number}": state(20) for number in range(30)})
        return await store.describe()

    described = using(held, main)
    assert described.kind == held.__name__
    assert described.unavailable == ""
    # Another test's keys may lie in the same database.
    assert described.sampled
    assert 100 < described.bytes_per_customer < 50_000
    if held is process:
        assert described.customers == 30


def test_in_process_what_several_share_counts_once():
    shared = state(50)

    async def main(count):
        async with process() as store:
            await store.put({f"c{number}": shared for number in range(count)})
            return (await store.describe()).bytes_per_customer

    assert asyncio.run(main(10)) < asyncio.run(main(1)) / 5


def test_in_process_the_least_recently_used_goes_first():
    async def main():
        counted = metrics()
        store = ProcessState(13, counted)
        for name in "abc":
            await store.put({name: state(3)})
        await store.get(["a"])
        await store.put({"d": state(3)})
        assert [name for name in "abcd" if (await store.get([name]))[0]] == ["a", "c", "d"]
        assert (counted.held_customers._value.get(), counted.held_events._value.get()) == (3, 12)
        await store.put({"whale": state(13)})
        assert (await store.get(["whale"]))[0] is None
        assert counted.held_events._value.get() == 12

    asyncio.run(main())


def test_in_redis_keys_end_and_hold_less_than_their_events_do():
    async def main(own):
        async with RedisState.open(SERVER, own, TTL_SECONDS, metrics()) as store:
            await store.put({"c1": state(500)})
            await store.forget(["c2"], 4)
        with contextlib.closing(client.Redis.from_url(SERVER)) as redis:
            assert {0 < redis.ttl(f"{own}{tombstone(each)}") <= TTL_SECONDS for each in ("c1", "c2")} == {
                True
            }
            assert redis.strlen(f"{own}{tombstone('c1')}") < 500 * 40

    with prefix() as own:
        asyncio.run(main(own))


NO_ATTRIBUTES = b"\0" * 16 + zlib.compress(b'[{"visit": 0}, [["e1", "visit", 1, 5]]]')


@pytest.mark.parametrize(
    "value", [b"", b"x", b"\0" * 16, b"\0" * 17, b"\0" * 16 + b"nonsense", "mended", NO_ATTRIBUTES]
)
def test_what_redis_cannot_give_back_is_not_held(value):
    async def main(own):
        async with RedisState.open(SERVER, own, TTL_SECONDS, metrics()) as store:
            with contextlib.closing(client.Redis.from_url(SERVER)) as redis:
                redis.set(f"{own}{tombstone('c1')}", value)
                found = await store.get(["c1"])
                await store.put({"c1": state(sequence=2**62)})
                return found, await store.get(["c1"])

    with prefix() as own:
        found, mended = asyncio.run(main(own))
    assert found == [None]
    assert mended[0] is not None


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_redis_that_fails_holds_nothing_and_is_not_waited_for(fault):
    async def main(server):
        counted = metrics()
        async with RedisState.open(server.url, "t:", TTL_SECONDS, counted) as store:
            await store.put({"c1": state()})
            assert (await store.get(["c1"]))[0] is not None
            server.send(fault)
            async with asyncio.timeout(5):
                for _ in range(1_000):
                    assert await store.get(["c1"]) == [None]
                    await store.put({"c1": state()})
            assert 0 < counted.state_errors._value.get() < 100
            with pytest.raises(StoreUnavailable, match="the feature state in Redis cannot be used"):
                await store.forget(["c1"], 9)
            described = await store.describe()
            assert (described.kind, described.customers) == ("redis", 0)
            assert described.unavailable
            if fault is signal.SIGSTOP:
                server.send(signal.SIGCONT)
                await asyncio.sleep(1.1)
                assert (await store.get(["c1"]))[0] is not None

    with own_redis() as server:
        server.start()
        asyncio.run(main(server))


def test_in_process_what_has_no_events_takes_room_too():
    async def main(most_events):
        store = ProcessState(most_events, metrics())
        await store.put({f"c{number}": state(0) for number in range(50)})
        await store.forget([f"gone{number}" for number in range(50)], 9)
        return (await store.describe()).customers

    assert [asyncio.run(main(most_events)) for most_events in (0, 7, 1_000)] == [0, 7, 100]


def test_in_process_the_later_of_two_erasures_counts():
    async def main():
        store = ProcessState(10, metrics())
        for change in (20, 10):
            await store.forget(["c1"], change)
        await store.put({"c1": state(3, change=10, sequence=15)})
        return (await store.get(["c1"]))[0].version

    assert asyncio.run(main()) == Version(20, 0)


def test_a_crowd_gets_its_turns(monkeypatch):
    # However slow this machine is, what is tested is that nobody is turned away.
    monkeypatch.setattr(redis_state, "_PATIENCE_SECONDS", 60)

    async def main(own):
        counted = metrics()
        async with RedisState.open(SERVER, own, TTL_SECONDS, counted) as store:
            await store.put({"c1": state()})
            found = await asyncio.gather(*(store.get(["c1"]) for _ in range(300)))
            return sum(each is not None for (each,) in found), counted.state_errors._value.get()

    with prefix() as own:
        assert asyncio.run(main(own)) == (300, 0)


def test_a_crowd_is_not_taken_for_a_redis_that_fails(monkeypatch):
    monkeypatch.setattr(redis_state, "_MOST_AT_ONCE", 1)

    async def main(server):
        counted = metrics()
        async with RedisState.open(server.url, "t:", TTL_SECONDS, counted) as store:
            await store.put({"c1": state()})
            server.send(signal.SIGSTOP)
            # One asks in vain; who waited for its place asks no more, and is no failure of its own.
            assert await asyncio.gather(*(store.get(["c1"]) for _ in range(20))) == [[None]] * 20
            assert counted.state_errors._value.get() == 1

    with own_redis() as server:
        server.start()
        asyncio.run(main(server))


def test_a_redis_that_is_full_is_read_and_lets_go_all_the_same():
    async def main(server):
        counted = metrics()
        async with RedisState.open(server.url, "t:", TTL_SECONDS, counted) as store:
            await store.put({"c1": state(3)})
            with contextlib.closing(client.Redis.from_url(server.url)) as redis:
                redis.config_set("maxmemory", "1")
                await store.put({"c2": state(3)})
                assert counted.state_errors._value.get() == 1
                assert [each is not None for each in await store.get(["c1", "c2"])] == [True, False]
                await store.forget(["c1"], 9)
                assert redis.keys() == []

    with own_redis() as server:
        server.start()
        asyncio.run(main(server))


def test_of_calls_in_a_hurry_one_waits_for_redis():
    async def main(server):
        counted = metrics()
        async with RedisState.open(server.url, "t:", TTL_SECONDS, counted) as store:
            await store.put({"c1": state()})
            server.send(signal.SIGSTOP)
            with answering(lambda: 0.5):
                assert [await store.get(["c1"]) for _ in range(20)] == [[None]] * 20
            assert counted.state_errors._value.get() == 1

    with own_redis() as server:
        server.start()
        asyncio.run(main(server))


LOCALES = Path("/usr/share/i18n/locales/en_US")


def test_versions_are_compared_whatever_language_redis_speaks(tmp_path, monkeypatch):
    if LOCALES.exists():
        subprocess.run(["localedef", "-i", "en_US", "-f", "UTF-8", tmp_path / "en_US.UTF-8"], check=False)
        monkeypatch.setenv("LOCPATH", str(tmp_path))
        monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    numbers = [0, 1, 46, 58, 65, 97, 127, 128, 200, 255, 256, 4_711, 65_536, 2**33 + 45, 2**62]

    async def main(server):
        async with RedisState.open(server.url, "t:", TTL_SECONDS, metrics()) as store:
            for older, newer in itertools.pairwise(numbers):
                await store.put({"c1": state(1, change=0, sequence=newer)})
                await store.put({"c1": state(1, change=0, sequence=older)})
                assert (await store.get(["c1"]))[0].version == Version(0, newer)
            for older, newer in itertools.pairwise(numbers[1:]):
                await store.forget([f"e{newer}"], newer)
                await store.put({f"e{newer}": state(1, change=older, sequence=2**62)})
                assert (await store.get([f"e{newer}"]))[0] is None

    with own_redis() as server:
        server.start()
        asyncio.run(main(server))
