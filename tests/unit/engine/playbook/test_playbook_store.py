import os
import threading
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path

import pytest

from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import FILES, load, shipped
from services.engine.playbook.publishing import publish, rollback
from services.engine.playbook.store import Cause, Entry, Store, VersionRefused, opened, store_under
from tests.playbooks import write_playbook

NOW = datetime(2025, 5, 14, 9, 30, tzinfo=UTC)
VALUES = {"a": 1.0, "b": 2.0, "c": 3.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return folders of playbooks that differ in one value."""
    root = tmp_path_factory.mktemp("playbooks")
    return {
        name: write_playbook(root / name, ("actions", "actions", "sale", "value", value))
        for name, value in VALUES.items()
    }


@pytest.fixture(scope="module")
def versions(folders):
    return {name: load(folder).version for name, folder in folders.items()}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def refused(call, *arguments):
    with pytest.raises(VersionRefused) as failed:
        call(*arguments)
    return failed.value


def test_what_is_published_is_current_and_says_the_same(store, folders, versions):
    change = publish(store, folders["a"], NOW, "anna")
    assert (change.version, change.before) == (versions["a"], None)
    assert store.newest() == versions["a"]
    assert store.load(versions["a"]).version == versions["a"]
    assert store.history() == [Entry(time=NOW, version=versions["a"], verb="publish", who="anna")]


def test_a_version_holds_the_six_files_and_no_cases(store, folders, tmp_path):
    folder = write_playbook(tmp_path / "shop")
    (folder / "cases").mkdir()
    (folder / "cases" / "one.yaml").write_text("situation: none")
    (folder / "notes.txt").write_text("to do")
    version = publish(store, folder, NOW).version
    held = {path.name: path.read_bytes() for path in store.folder_of(version).iterdir()}
    assert held == {name: (folder / name).read_bytes() for name in FILES}


def test_publishing_again_changes_nothing(store, folders, versions, tmp_path):
    publish(store, folders["a"], NOW)
    commented = write_playbook(tmp_path / "shop", ("actions", "actions", "sale", "value", VALUES["a"]))
    with (commented / "policies.yaml").open("a") as file:
        file.write("\n# a remark\n")
    change = publish(store, commented, NOW)
    assert (change.version, change.before) == (versions["a"], versions["a"])
    assert len(store.history()) == len(store.versions()) == 1
    assert b"a remark" not in (store.folder_of(versions["a"]) / "policies.yaml").read_bytes()


@pytest.mark.parametrize("wrong", ["value", "file"])
def test_a_playbook_with_a_mistake_is_refused_and_the_old_one_stays(
    store, folders, versions, tmp_path, wrong
):
    bad = write_playbook(tmp_path / "bad", ("actions", "actions", "sale", "group", "ofers"))
    if wrong == "file":
        bad = write_playbook(tmp_path / "other")
        (bad / "policys.yaml").write_text("{}")
    with pytest.raises(PlaybookError, match="did you mean"):
        publish(store, bad, NOW)
    assert not store.folder.exists()
    publish(store, folders["a"], NOW)
    with pytest.raises(PlaybookError):
        publish(store, bad, NOW)
    assert (store.newest(), store.versions()) == (versions["a"], [versions["a"]])


class Died(BaseException):
    """The process ended here; nothing that catches exceptions sees it."""


@pytest.fixture
def dying(monkeypatch):
    """Return a context that ends the process before its n-th step on the disk."""
    steps = [(os, "fsync"), (os, "open"), (Path, "rename"), (Path, "replace"), (Path, "mkdir")]

    class Dying:
        def __init__(self, number):
            self.number = number

        def __enter__(self):
            left = count(self.number, -1)
            for owner, name in steps:
                monkeypatch.setattr(owner, name, self.mortal(getattr(owner, name), left))

        def __exit__(self, kind, error, frames):
            monkeypatch.undo()
            return kind is Died

        @staticmethod
        def mortal(step, left):
            def taken(*arguments, **options):
                if next(left) == 0:
                    raise Died
                return step(*arguments, **options)

            return taken

    return Dying


def test_a_crash_at_any_step_leaves_a_whole_version_current(store, folders, versions, dying, tmp_path):
    outcomes = []
    for number in count():
        store = Store(tmp_path / f"store-{number}")
        publish(store, folders["a"], NOW)
        finished = False
        with dying(number):
            publish(store, folders["b"], NOW)
            finished = True
        current = store.newest()
        assert store.read(current).version == current
        outcomes.append(current)
        assert publish(store, folders["b"], NOW).version == versions["b"]
        assert store.read(versions["b"]).version == versions["b"]
        assert [entry.version for entry in store.history()][-1] == versions["b"]
        assert rollback(store, None, NOW).version == versions["a"]
        if finished:
            break
    died_before, died_after = outcomes.count(versions["a"]), outcomes.count(versions["b"])
    assert died_before > 10
    assert outcomes == [versions["a"]] * died_before + [versions["b"]] * died_after


def test_what_a_crash_kept_from_coming_true_is_never_rolled_back_to(
    store, folders, versions, dying, tmp_path
):
    noted = 0
    for number in count():
        store = Store(tmp_path / f"store-{number}")
        publish(store, folders["a"], NOW)
        finished = False
        with dying(number):
            publish(store, folders["b"], NOW)
            finished = True
        if finished:
            break
        before = store.newest()
        if before == versions["a"] != store.history()[-1].version:
            noted += 1
            assert "nothing before" in str(refused(rollback, store, None, NOW))
        publish(store, folders["c"], NOW)
        assert rollback(store, None, NOW).version == before
    assert noted


def test_a_line_that_was_cut_is_left_out_and_the_next_one_is_whole(store, folders, versions):
    publish(store, folders["a"], NOW)
    with (store.folder / "history").open("a") as file:
        file.write("2025-05-14T09:31:00Z 7a7a")
    publish(store, folders["b"], NOW)
    assert [entry.version for entry in store.history()] == [versions["a"], versions["b"]]


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda folder: _replace(folder / "actions.yaml", b"1.0", b"9.0"), Cause.ALTERED),
        (lambda folder: (folder / "policies.yaml").write_text(""), Cause.ALTERED),
        (lambda folder: (folder / "policies.yaml").unlink(), Cause.INVALID),
        (lambda folder: (folder / "events.yaml").write_text("events: ["), Cause.INVALID),
        (lambda folder: folder.rename(folder.parents[1] / "elsewhere"), Cause.MISSING),
    ],
)
def test_a_version_that_is_not_as_it_was_published_is_refused_until_it_is_published_again(
    store, folders, versions, damage, cause
):
    version = publish(store, folders["a"], NOW).version
    publish(store, folders["b"], NOW)
    damage(store.folder_of(version))
    error = refused(store.load, version)
    assert error.cause is cause
    assert version[:64] in str(error)
    assert refused(rollback, store, None, NOW).cause is cause
    assert store.newest() == versions["b"]
    publish(store, folders["a"], NOW)
    assert store.load(version).version == version


def _replace(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("content", [b"", b"../../etc", b"7a7a", b"\xff\xfe", b"A" * 64])
def test_a_current_that_names_no_version_is_refused_and_mended_by_publishing(
    store, folders, versions, content
):
    publish(store, folders["a"], NOW)
    (store.folder / "current").write_bytes(content)
    assert refused(store.newest).cause is Cause.UNREADABLE
    publish(store, folders["a"], NOW)
    assert store.newest() == versions["a"]
    assert "nothing before" in str(refused(rollback, store, None, NOW))


def test_only_a_version_leads_to_a_folder(store, folders):
    publish(store, folders["a"], NOW)
    for version in ("..", "", "../versions", "A" * 64):
        assert refused(store.load, version).cause is Cause.MISSING


@pytest.mark.parametrize(
    ("story", "current"),
    [
        ("a b back", "a"),
        ("a b c back back", "a"),
        ("a b back b back", "a"),
        ("a b a back", "b"),
        ("a b c back c back", "b"),
        ("a b c to-a c back", "a"),
        ("a b to-a to-b back", "a"),
        ("a b c to-b back", "a"),
    ],
)
def test_a_rollback_goes_one_step_further_back(store, folders, versions, story, current):
    for step in story.split():
        if step == "back":
            rollback(store, None, NOW)
        elif step.startswith("to-"):
            rollback(store, versions[step[3:]][:10], NOW)
        else:
            publish(store, folders[step], NOW)
    assert store.newest() == versions[current]


def test_a_rollback_without_a_way_back_says_so(store, folders, versions):
    assert "is no store" in str(refused(rollback, store, None, NOW))
    publish(store, folders["a"], NOW)
    publish(store, folders["b"], NOW)
    assert "nothing before" in str(refused(lambda: [rollback(store, None, NOW) for _ in range(2)]))
    assert versions["b"][:12] in str(refused(rollback, store, "0123456789", NOW))
    assert "2 versions begin with ''" in str(refused(rollback, store, "", NOW))
    assert store.newest() == versions["a"]


def test_crowds_publish_and_every_reader_finds_a_whole_version(store, folders, versions):
    publish(store, folders["a"], NOW)
    done, failures = threading.Event(), []

    def read():
        try:
            while not done.is_set():
                assert store.read(store.newest()).version in versions.values()
        except BaseException as error:
            failures.append(error)

    def write(name):
        try:
            for _ in range(3):
                publish(store, folders[name], NOW, name)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=[name]) for name in (*VALUES, *VALUES)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert not failures
    assert store.versions() == sorted(versions.values())
    told = [entry.version for entry in store.history()]
    assert told[-1] == store.newest()
    assert all(before != after for before, after in pairwise(told))


def test_a_version_is_loaded_once_for_all_who_follow(store, folders, versions):
    publish(store, folders["a"], NOW)
    assert store.load(versions["a"]) is store.load(versions["a"])


class TestOpened:
    def test_a_folder_of_a_playbook_stays(self, folders, versions, tmp_path):
        playbook, store = opened(folders["a"], tmp_path)
        assert (playbook.version, store) == (versions["a"], None)

    def test_a_store_is_followed_from_what_is_current(self, store, folders, versions, tmp_path):
        publish(store, folders["a"], NOW)
        publish(store, folders["b"], NOW)
        playbook, followed = opened(store.folder, tmp_path)
        assert (playbook.version, followed.folder) == (versions["b"], store.folder)

    def test_a_store_without_a_current_version_is_refused(self, store, folders, tmp_path):
        publish(store, folders["a"], NOW)
        (store.folder / "current").unlink()
        assert "nothing is published" in str(refused(opened, store.folder, tmp_path))

    @pytest.mark.parametrize("damaged", ["version", "current"])
    def test_where_what_is_current_is_refused_what_was_before_begins(
        self, store, folders, versions, tmp_path, damaged
    ):
        for name in VALUES:
            publish(store, folders[name], NOW)
        (store.folder_of(versions["b"]) / "actions.yaml").unlink()
        if damaged == "version":
            (store.folder_of(versions["c"]) / "actions.yaml").unlink()
        else:
            (store.folder / "current").write_text("")
        playbook, followed = opened(store.folder, tmp_path)
        assert playbook.version == versions["a" if damaged == "version" else "c"]
        assert followed.folder == store.folder

    def test_where_nothing_is_as_it_was_published_that_is_said(self, store, folders, versions, tmp_path):
        publish(store, folders["a"], NOW)
        (store.folder_of(versions["a"]) / "actions.yaml").unlink()
        assert refused(opened, store.folder, tmp_path).cause is Cause.INVALID

    def test_without_a_setting_the_shipped_one_serves_until_something_is_published(
        self, folders, versions, tmp_path
    ):
        playbook, store = opened(None, tmp_path)
        assert playbook.version == load(shipped("retail")).version
        assert store.newest() is None
        publish(Store(store_under(tmp_path)), folders["a"], NOW)
        assert store.newest() == versions["a"]
        assert opened(None, tmp_path)[0].version == versions["a"]

    def test_nothing_at_all_is_refused(self, tmp_path):
        with pytest.raises(PlaybookError, match="no such playbook folder"):
            opened(tmp_path / "nowhere", tmp_path)
