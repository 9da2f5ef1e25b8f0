import asyncio
import contextlib
import logging
import threading

import pytest
from prometheus_client import CollectorRegistry

from services.chassis.following import MOST_POLLS_BETWEEN, Follower, FollowMetrics, following

PATIENCE_SECONDS = 20.0


class Torn(ValueError):
    cause = "torn"


class Shelf:
    """Where versions are published: what is put there is loaded, errors are raised."""

    def __init__(self):
        self.current = None
        self.loaded = []
        self.threads = set()

    def newest(self):
        if isinstance(self.current, Exception):
            raise self.current
        return None if self.current is None else self.current[0]

    def load(self, version):
        self.loaded.append(version)
        self.threads.add(threading.get_ident())
        _, content = self.current
        if isinstance(content, Exception):
            raise content
        return content


class Setting:
    def __init__(self):
        self.shelf = Shelf()
        self.registry = CollectorRegistry()
        self.taken = []
        metrics = FollowMetrics(self.registry, "parcel", ["torn"])
        self.follower = Follower("post", self.shelf, "1", self.take, metrics)

    async def take(self, content):
        self.taken.append(content)

    def put(self, version, content):
        self.shelf.current = version, content

    def look(self, times=1):
        async def main():
            for _ in range(times):
                await self.follower.look()

        asyncio.run(main())

    def refused(self, cause):
        return self.registry.get_sample_value("tact_parcel_refused_total", {"cause": cause})


@pytest.fixture
def setting():
    return Setting()


def test_a_new_version_is_loaded_once_and_taken(setting):
    setting.put("2", "two")
    setting.look(3)
    assert (setting.taken, setting.shelf.loaded) == (["two"], ["2"])


def test_what_is_held_already_is_not_loaded(setting):
    setting.look()
    setting.put("1", "one")
    setting.look()
    assert setting.taken == setting.shelf.loaded == []


def test_loading_does_not_hold_up_the_loop(setting):
    setting.put("2", "two")
    setting.look()
    assert threading.get_ident() not in setting.shelf.threads


@pytest.mark.parametrize(("error", "cause"), [(Torn("in two"), "torn"), (KeyError("secret"), "defect")])
def test_a_bad_version_is_refused_once_and_the_old_one_stays(setting, caplog, error, cause):
    setting.put("2", error)
    setting.look(10)
    assert setting.taken == []
    assert (setting.refused("torn"), setting.refused("defect")) == ((1, 0) if cause == "torn" else (0, 1))
    told = [record.fields for record in caplog.records if record.getMessage() == "parcel refused"]
    detail = "in two" if cause == "torn" else "KeyError"
    assert told == [{"service": "post", "version": "2", "cause": cause, "detail": detail}]


def test_a_defect_is_logged_with_its_frames(setting, caplog):
    setting.put("2", KeyError("secret"))
    setting.look(5)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]


def test_a_refused_version_that_is_mended_is_taken(setting):
    setting.put("2", Torn())
    setting.look(5)
    setting.put("2", "two")
    setting.look(MOST_POLLS_BETWEEN)
    assert setting.taken == ["two"]


def test_a_refused_version_is_tried_less_and_less_often(setting):
    setting.put("2", Torn())
    setting.look(40)
    assert len(setting.shelf.loaded) == 6
    setting.look(10 * MOST_POLLS_BETWEEN)
    assert len(setting.shelf.loaded) == 16


def test_a_good_version_after_a_bad_one_is_taken_at_once(setting):
    setting.put("2", Torn())
    setting.look(20)
    setting.put("3", "three")
    setting.look()
    assert setting.taken == ["three"]


def test_a_bad_version_that_comes_back_is_counted_again(setting):
    for version, content in (("2", Torn()), ("1", "one"), ("2", Torn())):
        setting.put(version, content)
        setting.look(3)
    assert setting.refused("torn") == 2


def test_a_place_out_of_reach_is_told_once_and_found_again(setting):
    setting.shelf.current = Torn("no such place")
    setting.look(5)
    assert (setting.refused("torn"), setting.taken) == (1, [])
    setting.put("2", "two")
    setting.look()
    assert setting.taken == ["two"]


def test_what_cannot_be_put_into_use_is_refused(setting, caplog):
    async def fail(content):
        raise RuntimeError

    setting.follower = Follower("post", setting.shelf, "1", fail, setting.follower._metrics)
    setting.put("2", "two")
    setting.look(2)
    assert setting.refused("defect") == 1


def test_the_version_in_use_is_the_only_one_shown():
    registry = CollectorRegistry()
    metrics = FollowMetrics(registry, "parcel", [])
    for version in ("1" * 64, "2" * 64, "2" * 64):
        metrics.show("box", version)
    (family,) = [family for family in registry.collect() if family.name == "tact_parcel"]
    assert [sample.labels for sample in family.samples] == [{"name": "box", "version": "2" * 12}]


def test_it_follows_as_long_as_the_block_lasts(setting, caplog):
    caplog.set_level(logging.INFO, logger="tact.following")

    async def main():
        arrived = asyncio.Event()

        async def take(content):
            setting.taken.append(content)
            arrived.set()

        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            following("post", setting.shelf, "1", take, setting.follower._metrics, 0.001),
        ):
            for version in ("2", "3"):
                arrived.clear()
                setting.put(version, version)
                await arrived.wait()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert setting.taken == ["2", "3"]
    assert "parcel taken over" in [record.getMessage() for record in caplog.records]


def test_without_a_source_nothing_is_followed(setting):
    async def main():
        async with following("post", None, "1", setting.take, setting.follower._metrics, 0.001):
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_the_block_ends_while_a_version_is_being_loaded(setting):
    loading, go_on = threading.Event(), threading.Event()

    def load(version):
        loading.set()
        go_on.wait(PATIENCE_SECONDS)
        return "two"

    setting.put("2", "two")
    setting.shelf.load = load

    async def main():
        async with (
            contextlib.AsyncExitStack() as stack,
            following("post", setting.shelf, "1", setting.take, setting.follower._metrics, 0.001),
        ):
            stack.callback(go_on.set)
            await asyncio.to_thread(loading.wait, PATIENCE_SECONDS)

    asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))
    assert setting.taken == []
