"""The benchmark runs from end to end. Nothing here looks at how long anything took."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.processes import environment_of_tests
from bench.rounds import LOADS
from bench.stores.servers import POSTGRESQL, PROCESS, REDIS, SQLITE, present
from bench.stores.turns import BARE, BATCHES, SIZES
from bench.summary import PAIRS
from bench.targets import DECIDING, ECHO, ORDER


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "bench", "--quick", "--output", str(folder), "--only"]
    for part in ("decisions", "stores"):
        done = subprocess.run(
            [*command, part], env=environment_of_tests(), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def result(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "latest.json").read_text())
    return content


@pytest.fixture(scope="module")
def there() -> set[str]:
    """What can be measured here."""
    found = {kind for kind, is_there in present().items() if is_there}
    if os.environ.get("TACT_REQUIRE_SERVERS") == "1":
        assert found == {SQLITE, POSTGRESQL, REDIS}
    return found


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


def test_the_parts_that_are_measured_alone_stand_beside_each_other(output: Path) -> None:
    text = (output / "latest.md").read_text()
    assert text.index("`python -m bench --only decisions --quick`") < text.index(
        "`python -m bench --only stores --quick`"
    )


def test_every_kind_of_store_is_measured_where_it_answers(result: dict[str, Any], there: set[str]) -> None:
    stores = result["stores"]
    assert set(stores["left_out"]) == {SQLITE, POSTGRESQL, REDIS} - there
    assert set(stores["features"]) == set(stores["profiles"]) == there - {REDIS}
    if POSTGRESQL in there:
        assert list(stores["features"][POSTGRESQL]["reads"]) == [
            PROCESS,
            *([REDIS] if REDIS in there else []),
        ]
    assert list(stores["sizes"]) == [
        f"{store}, {state}" for store, found in stores["features"].items() for state in found["reads"]
    ]


def test_reads_and_writes_are_measured_beside_the_bare_store_at_every_size(result: dict[str, Any]) -> None:
    read, written = ([str(size) for size in sizes] for sizes in (SIZES, BATCHES))
    stores = result["stores"]
    for found in (*stores["features"].values(), *stores["profiles"].values()):
        assert list(found["writes"]) == written
        assert all(by["ratio"]["least"] > 0 for by in found["writes"].values())
    ways = [way for found in stores["features"].values() for way in found["reads"].values()]
    assert all(list(way) == ["held", "nothing held", BARE] for way in ways)
    ways += [found["reads"] for found in stores["profiles"].values()]
    for by_size in itertools.chain.from_iterable(way.values() for way in ways):
        assert list(by_size) == read
        assert all(by["us"]["least"] > 0 for by in by_size.values())


def test_every_customer_has_a_size_on_disk_and_in_memory(result: dict[str, Any]) -> None:
    for pair in result["stores"]["sizes"].values():
        assert list(pair["sizes"]) == ["200", "1000"]
        assert all(found["disk_bytes"] > 0 and found["loaded_bytes"] > 0 for found in pair["sizes"].values())
        assert pair["ratio"]["median"] > 0
