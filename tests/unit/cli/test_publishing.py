from pathlib import Path

import pytest

from services.cli.__main__ import main
from services.engine.playbook.loader import load
from services.engine.playbook.store import Store
from tests.playbooks import write_playbook


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TACT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TACT_PLAYBOOK", raising=False)
    monkeypatch.setenv("LOGNAME", "anna")
    return tmp_path / "home"


@pytest.fixture
def tact(capsys):
    """Return a call of ``tact playbook``: its exit code, standard output and standard error."""

    def run(*words):
        code = main(["playbook", *map(str, words)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def first(tmp_path):
    return write_playbook(tmp_path / "first")


@pytest.fixture
def second(tmp_path):
    return write_playbook(tmp_path / "second", ("actions", "actions", "sale", "value", 9.0))


def short(folder):
    return load(folder).version[:12]


def test_publishing_tells_the_version_and_what_was_current(tact, home, first, second):
    assert tact("publish", first) == (
        0,
        f"{home}/playbooks: version {short(first)} is current; before: none\n",
        "",
    )
    assert tact("publish", second) == (
        0,
        f"{home}/playbooks: version {short(second)} is current; before: {short(first)}\n",
        "",
    )
    assert tact("publish", second) == (
        0,
        f"{home}/playbooks: version {short(second)} is current already\n",
        "",
    )


def test_a_rollback_goes_back_or_to_a_version(tact, home, first, second):
    tact("publish", first)
    tact("publish", second)
    code, out, _ = tact("rollback")
    assert (code, out) == (
        0,
        f"{home}/playbooks: version {short(first)} is current; before: {short(second)}\n",
    )
    assert tact("rollback", short(second)[:8])[1].endswith(f"before: {short(first)}\n")
    assert Store(home / "playbooks").newest() == load(second).version


def test_versions_are_listed_last_change_first_with_the_current_one_marked(tact, home, first, second):
    tact("publish", first)
    tact("publish", second)
    tact("rollback")
    code, out, _ = tact("versions")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert [(line[0], line[1], line[-2], line[-1]) for line in lines[:1]] == [
        ("*", load(first).version, "rollback", "anna")
    ]
    assert [(line[0], line[-2], line[-1]) for line in lines[1:]] == [
        (load(second).version, "publish", "anna")
    ]


def test_a_mistake_is_told_with_file_and_line_and_nothing_is_published(tact, home, tmp_path):
    bad = write_playbook(tmp_path / "bad", ("actions", "actions", "sale", "group", "ofers"))
    code, out, err = tact("publish", bad)
    assert (code, out) == (1, "")
    assert err.startswith(f"{bad}/actions.yaml:")
    assert 'did you mean "offers"' in err
    assert not (home / "playbooks").exists()


@pytest.mark.parametrize("words", [("rollback",), ("versions",), ("rollback", "abc")])
def test_without_a_store_a_failure_says_so(tact, home, words):
    code, out, err = tact(*words)
    assert (code, out) == (1, "")
    assert err == f"tact playbook: {home}/playbooks is no store of playbooks\n"


def test_a_damaged_version_is_not_rolled_back_to(tact, home, first, second):
    tact("publish", first)
    tact("publish", second)
    store = Store(home / "playbooks")
    (store.folder_of(load(first).version) / "events.yaml").unlink()
    code, _, err = tact("rollback")
    assert code == 1
    assert "events.yaml" in err
    assert store.newest() == load(second).version


def test_a_store_that_cannot_be_written_is_a_failure(tact, tmp_path, first):
    (tmp_path / "file").write_text("")
    code, out, err = tact("publish", first, "--to", tmp_path / "file" / "store")
    assert (code, out) == (1, "")
    assert "cannot be used" in err


class TestTheStore:
    """Which store is meant where none is named."""

    def test_a_named_one_comes_first(self, tact, tmp_path, first, second):
        store = tmp_path / "named"
        assert tact("publish", first, "--to", store)[1].startswith(f"{store}: ")
        tact("publish", second, "--to", store)
        assert tact("rollback", "--in", store)[1].startswith(f"{store}: ")
        assert len(tact("versions", store)[1].splitlines()) == 2

    def test_then_the_folder_that_the_services_follow(self, tact, tmp_path, first, monkeypatch):
        monkeypatch.setenv("TACT_PLAYBOOK", str(tmp_path / "followed"))
        code, out, err = tact("publish", first)
        assert (code, err) == (0, "")
        assert out.startswith(f"{tmp_path / 'followed'}: ")
        assert tact("versions")[0] == 0

    def test_a_playbook_itself_is_none_and_services_on_it_do_not_follow(
        self, tact, home, first, second, monkeypatch
    ):
        monkeypatch.setenv("TACT_PLAYBOOK", str(first))
        code, out, err = tact("publish", second)
        assert code == 0
        assert out.startswith(f"{home}/playbooks: ")
        assert err == f"services started with TACT_PLAYBOOK={first} do not follow this store\n"
        assert sorted(path.name for path in first.iterdir()) == sorted(p.name for p in second.iterdir())

    def test_else_playbooks_under_the_home(self, tact, first, monkeypatch):
        monkeypatch.delenv("TACT_HOME")
        tact("publish", first)
        assert Store(Path(".tact/playbooks")).newest() == load(first).version
