"""The benchmark runs from end to end. Nothing here looks at how long anything took."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.processes import environment
from bench.rounds import LOADS
from bench.summary import PAIRS
from bench.targets import DECIDING, ECHO, ORDER


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "bench", "--quick", "--output", str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def result(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "latest.json").read_text())
    return content


def test_it_writes_tables_and_a_picture_beside_the_numbers(output: Path) -> None:
    assert (output / "latest.png").read_bytes().startswith(b"\x89PNG")
    assert "## Tact divided by the baselines" in (output / "latest.md").read_text()


def test_decisions_are_live_and_of_the_size_asked_for(result: dict[str, Any]) -> None:
    size = result["world"]
    assert (size["mode"], size["candidates"], size["features"], size["trees"]) == ("LIVE", 20, 40, 200)


def test_servers_counted_every_request_that_was_sent(result: dict[str, Any]) -> None:
    assert list(result["counted"]) == list(ORDER)
    for target, counted in result["counted"].items():
        assert counted["sent"] > 0
        assert set(counted["ok"].values()) == {counted["sent"]}
        assert len(counted["ok"]) == (1 if target == ECHO else 4)


def test_every_target_is_measured_under_every_load(result: dict[str, Any]) -> None:
    loads = [load.name for load in LOADS]
    assert list(result["targets"]) == list(ORDER)
    assert list(result["ratios"]) == [f"{one} / {other}" for one, other in PAIRS]
    for by_load in (*result["targets"].values(), *result["ratios"].values()):
        assert list(by_load) == loads


def test_every_process_says_what_it_used(result: dict[str, Any]) -> None:
    for target, processes in result["peak_rss_mib"].items():
        assert len(processes) == (1 if target in ("tact", ECHO) else 4)
        assert all(used > 10 for used in processes.values())
        for figures in result["targets"][target].values():
            assert figures["cpu_us_by_process"].keys() == processes.keys()
            assert all(spent > 0 for spent in figures["cpu_us_by_process"].values())


def test_the_parts_of_a_decision_add_up_to_what_the_client_saw(result: dict[str, Any]) -> None:
    assert list(result["breakdown"]) == list(DECIDING)
    for by_load in result["breakdown"].values():
        for told in by_load.values():
            assert sum(told["parts"].values()) == pytest.approx(told["client"], rel=0.01)
            assert all(spent > 0 for spent in told["services"].values())
