"""``tact playbook diff`` on logs in files: what it prints, draws and writes, and what it refuses."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import pytest
from decision_logs import sqlite, using
from differing import edition, logged, rule, rules, write
from matplotlib.image import imread

from services.cli.__main__ import main
from services.engine.playbook.publishing import publish
from services.engine.playbook.store import Store, store_under

PUBLISHED = datetime(2026, 1, 1, tzinfo=UTC)
VETO = {"name": "no_cake", "text": "No cake.", "factor": 0, "applies_to": {"actions": ["cake"]}}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a log of the stall, and no settings from outside."""
    monkeypatch.setenv("TACT_HOME", str(tmp_path))
    monkeypatch.delenv("TACT_PLAYBOOK", raising=False)
    keep(logged(edition(), decisions=40), tmp_path)
    write(tmp_path / "old")
    write(tmp_path / "new", rules("levers", VETO))
    return tmp_path


def keep(log, folder):
    """Write a log as the gateway keeps it."""

    async def fill(held):
        for entry in log.shop.log.entries.values():
            await held.log.append(entry)
        await held.log.record_outcomes(list(log.shop.log.outcomes.values()), log.shop.now)

    using(sqlite, folder, fill)


def run(capsys, *arguments):
    code = main(["playbook", "diff", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_difference_is_printed_written_and_drawn(home, capsys):
    target = home / "diff.json"
    code, out, err = run(
        capsys,
        home / "old",
        home / "new",
        "--json",
        target,
        "--by",
        "profile.region",
        "--by",
        "feature.spend",
    )
    assert (code, err) == (0, "")
    assert "40 decisions (0 live, 40 dry) about" in out
    assert "40 of 40 answers of OLD equal the log" in out
    assert "veto, no_cake: No cake." in out
    assert f"Picture: {home / 'diff.png'}" in out

    told = json.loads(target.read_text())
    assert (told["equal_to_log"], told["compared_with_log"], told["decisions"]) == (40, 40, 40)
    cake = told["first_action"]["cake"]
    assert cake["new"] == cake["gained"] == 0 < cake["lost"] == cake["old"]
    assert re.search(rf"^cake +{cake['old']} +0 +0 +{cake['lost']} +-{cake['lost']}$", out, re.MULTILINE)
    lost = sum(
        part["first_action"].get("cake", {"lost": 0})["lost"] for part in told["segments"]["profile.region"]
    )
    assert lost == cake["lost"]
    assert {part["segment"] for part in told["segments"]["profile.region"]} == {"north", "south", "(missing)"}
    assert sum(part["decisions"] for part in told["segments"]["feature.spend"]) == 40
    assert told["scores"]["new"] == {"recorded": sum(told["scores"]["new"].values())}
    assert told["is_ledger_simulated"] is False

    picture = imread(home / "diff.png")
    assert picture.shape[0] > 400
    assert picture.shape[1] > 800
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 20


def test_twice_the_same_is_told_in_the_same_bytes(home, capsys):
    arguments = home / "old", home / "new", "--by", "control_arm", "--json", home / "diff.json"
    first = run(capsys, *arguments), (home / "diff.json").read_bytes(), (home / "diff.png").read_bytes()
    assert (
        run(capsys, *arguments),
        (home / "diff.json").read_bytes(),
        (home / "diff.png").read_bytes(),
    ) == first


def test_amounts_of_two_currencies_are_not_passed_off_as_one(home, capsys):
    head = home / "new" / "playbook.yaml"
    head.write_text(head.read_text().replace("EUR", "USD"))
    code, out, _ = run(capsys, home / "old", home / "new")
    assert code == 0
    assert "OLD counts in EUR and NEW in USD: what they are worth cannot be compared." in " ".join(
        out.split()
    )


def test_who_has_read_enough_is_not_told_of_a_traceback(home):
    command = [sys.executable, "-m", "services.cli", "playbook", "diff", str(home / "old"), str(home / "new")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        assert b"Traceback" not in running.stderr.read()


def test_nothing_is_written_to_the_log(home, capsys):
    before = {path.name: path.read_bytes() for path in home.glob("gateway.sqlite*")}
    assert run(capsys, home / "old", home / "new")[0] == 0
    assert {path.name: path.read_bytes() for path in home.glob("gateway.sqlite*")} == before


def test_the_same_playbook_changes_nothing(home, capsys):
    code, out, _ = run(capsys, home / "old", home / "old")
    assert code == 0
    assert "first action: no decision gains or loses any" in out
    assert "the whole answer is the same in 40." in " ".join(out.split())
    assert imread(home / "diff.png").shape[0] > 400


def test_versions_of_the_store_can_be_compared(home, capsys):
    store = Store(store_under(home))
    version = publish(store, home / "old", PUBLISHED).version
    other = publish(store, home / "new", PUBLISHED).version
    assert "40 of 40 answers of OLD equal the log" in run(capsys, version[:8], "published")[1]
    code, out, _ = run(capsys, "published", home / "old", "--picture", home / "other" / "one.png")
    assert code == 0
    assert f"OLD is version {other[:12]} of stall" in out
    assert "OLD made none of these decisions" in out
    assert (home / "other" / "one.png").exists()


def test_the_playbook_that_decided_is_found_in_the_store(home, capsys):
    publish(Store(store_under(home)), home / "old", PUBLISHED)
    write(home / "other", ("features", "features", "liking", ...), ("policies", "suitability", []))
    code, out, _ = run(capsys, home / "other", home / "other")
    assert code == 0
    assert "not at hand" not in out
    assert "does not hold" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--decisions", "nowhere"], "there is no decision log nowhere"),
        (
            ["--by", "profile.regoin"],
            '--by profile.regoin: neither playbook knows it, nor is it "control_arm"; '
            'did you mean "profile.region"?',
        ),
        (["--by", "profile.rumour"], "--by profile.rumour: it is borrowed, so no log holds it"),
        (["--by", "feature.liking"], "--by feature.liking: it differs from action to action"),
        (["--by", "action.id"], "--by action.id: neither playbook knows it"),
        (["--by", "time.now"], "--by time.now: it is an instant"),
        (["--json", "no/such/folder/diff.json"], "the result cannot be written: "),
        (["--model"], "--model: there is no model behind the alias champion of tact-retail in sqlite:///"),
    ],
)
def test_what_cannot_be_done_is_told(home, capsys, arguments, message):
    code, _, err = run(capsys, home / "old", home / "new", *arguments)
    assert code == 1
    assert f"tact playbook: {message}" in err


def test_playbooks_that_cannot_be_used_are_told(home, capsys):
    code, _, err = run(capsys, "abc123", home / "new")
    assert (code, err) == (
        1,
        "tact playbook: abc123 is no folder of a playbook, and no version: "
        "0 versions begin with 'abc123'; there are: none\n",
    )
    assert "nothing is published" in run(capsys, "published", home / "new")[2]
    write(home / "broken", rules("eligibility", rule("odd", "profile.aeg > 3")))
    code, _, err = run(capsys, home / "old", home / "broken")
    assert code == 1
    assert f"{home / 'broken'}/policies.yaml:" in err
    assert 'did you mean "profile.age"?' in err


def test_an_empty_log_is_told(home, capsys):
    with closing(sqlite3.connect(home / "gateway.sqlite")) as connection, connection:
        connection.execute("DELETE FROM dry_run_decisions")
    code, out, err = run(capsys, home / "old", home / "new")
    assert (code, out, err) == (
        1,
        "",
        f"tact playbook: the decision log {home / 'gateway.sqlite'} is empty\n",
    )


def test_where_every_record_is_damaged_nothing_is_compared(home, capsys):
    with closing(sqlite3.connect(home / "gateway.sqlite")) as connection, connection:
        connection.execute("UPDATE dry_run_decisions SET record = cast(x'ff' || record AS blob)")
    _, _, err = run(capsys, home / "old", home / "new")
    assert err == "tact playbook: no decision can be compared: 40 records are damaged, 0 requests refused\n"


def test_without_matplotlib_everything_else_is_told(home, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run(capsys, home / "old", home / "new")
    assert code == 0
    assert "veto, no_cake: No cake." in out
    assert "Picture" not in out
    assert err.startswith("matplotlib is not installed, so there is no picture: ")
    code, out, err = run(capsys, home / "old", home / "new", "--picture", home / "asked.png")
    assert (code, out) == (1, "")
    assert "--picture: matplotlib is not installed" in err
