"""What is reported and learned of the past is the same whether files or PostgreSQL keep it."""

import json
import random
from datetime import UTC, datetime, timedelta

import databases
import pasts
import pytest
from armory import CUSTOMERS, START, decide, ingest, report, write_playbook

from services.cli.__main__ import main
from services.engine.playbook.loader import load, shipped
from tests.contract import test_online_offline as retail
from tests.contract import test_promises_report as promises
from tests.playbooks import load_playbook


@pytest.fixture
def url(monkeypatch):
    """Use an empty database, which nothing is told of yet."""
    for name in ("TACT_FEATURES_STORE", "TACT_PROFILE_STORE", "TACT_GATEWAY_STORE"):
        monkeypatch.delenv(name, raising=False)
    with databases.postgresql() as found:
        yield found


def move(monkeypatch, home, url):
    """Copy events and profiles to a database, and settle the services on it."""
    pasts.copy(home, url)
    for service in ("features", "profile"):
        (home / f"{service}.sqlite").unlink()
        monkeypatch.setenv(f"TACT_{service.upper()}_STORE", url)


def test_arms_are_told_of_the_same(url, tmp_path, monkeypatch, capsys):
    folder = write_playbook(tmp_path / "playbook")
    book = load(folder)
    asked = [(START + timedelta(hours=n), {"customer_id": one}) for n, one in enumerate(CUSTOMERS)]
    decide(tmp_path, book, asked)
    ingest(tmp_path, book, [(one, "wine-coupon", START + timedelta(days=3)) for one in CUSTOMERS[::2]])
    pasts.file_customers(tmp_path, book, CUSTOMERS, links=[CUSTOMERS[:2], CUSTOMERS[2:4]])
    monkeypatch.setenv("TACT_HOME", str(tmp_path))
    options = ("--playbook", folder, "--until", "2025-06-01")
    before = report(capsys, *options)
    move(monkeypatch, tmp_path, url)
    assert report(capsys, *options) == before
    named = (tmp_path, "--events", url, "--profiles", url, *options)
    assert report(capsys, *named) == before
    assert before["customers"] == len(CUSTOMERS) - 2
    assert sum(arm["succeeded"] for arm in before["arms"]) == len(CUSTOMERS) / 2


def test_promises_are_told_of_the_same(url, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "shop"
    playbook = load_playbook(folder, *promises.CHANGES)
    promises.store(tmp_path, playbook)
    pasts.file_customers(tmp_path, playbook, ["ann", "bob"], links=[("ann", "bob")])
    monkeypatch.setenv("TACT_HOME", str(tmp_path))
    command = (
        "promises",
        "report",
        "--json",
        "--playbook",
        str(folder),
        "--until",
        promises.NOW.isoformat(),
    )

    def told():
        assert main(list(command)) == 0
        return json.loads(capsys.readouterr().out)

    before = told()
    move(monkeypatch, tmp_path, url)
    assert told() == before
    assert before["promises"][0]["opened"] == 5


def test_a_dataset_is_the_same(url, tmp_path, monkeypatch, capsys):
    draw = random.Random(8)
    retail.fill(tmp_path, retail.events(draw), retail.profiles(draw))
    config = tmp_path / "dataset.yaml"
    config.write_text(
        json.dumps(
            {
                "playbook": str(shipped("retail")),
                "home": str(tmp_path),
                "exposures": {"event": "campaign_mailed", "action": "campaign"},
                "as_of_time": datetime(2017, 12, 1, tzinfo=UTC).isoformat(),
                "output": str(tmp_path / "dataset"),
            }
        )
    )

    def built(*options):
        assert main(["dataset", str(config), *options]) == 0
        made = json.loads(capsys.readouterr().out)
        return made["dataset_id"], made["rows"]

    before = built()
    move(monkeypatch, tmp_path, url)
    assert built() == before
    monkeypatch.delenv("TACT_FEATURES_STORE")
    assert built("--set", f"features_store={url}") == before
    assert before[1] == len(retail.CUSTOMERS) * len(retail.CAMPAIGNS)


def test_a_store_out_of_reach_is_named_without_its_secret(url, tmp_path, monkeypatch, capsys):
    there = databases.by_way_of(url, port=1, password="hidden")  # noqa: S106 - of nobody
    monkeypatch.setenv("TACT_HOME", str(tmp_path))
    monkeypatch.setenv("TACT_FEATURES_STORE", there)
    monkeypatch.setenv("TACT_PROFILE_STORE", there)
    folder = tmp_path / "shop"
    load_playbook(folder, *promises.CHANGES)
    assert main(["promises", "report", "--playbook", str(folder)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("tact promises: PostgreSQL tact_test_")
    assert "cannot be read as profile store: " in said
    assert "hidden" not in said
