"""One run: every kind of store that can be measured here, in turns with the bare store."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import machine
from bench.callers import IN_FLIGHT
from bench.population import PLAYBOOK, Population
from bench.processes import ending_on_sigterm
from bench.run import SEED, told
from bench.stores import features, profiles, sizes
from bench.stores.places import settle
from bench.stores.servers import POSTGRESQL, PROCESS, REDIS, SQLITE, present
from bench.stores.sizes import Crowds
from services.engine.playbook.loader import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured: ``reads`` of one customer a round, fewer of several, and ``calls`` that write.

    ``calls`` are by the number of items in each, of ``customers`` like those of the decisions.
    """

    rounds: int
    customers: int
    reads: int
    calls: dict[int, int]
    crowds: Crowds


FULL = Scale(
    rounds=5,
    customers=2_000,
    reads=100,
    calls={1: 400, 100: 40, 1_000: 16},
    crowds=Crowds(few=10_000, many=1_000_000, events=3, warmed=5_000, reads=400),
)
QUICK = Scale(
    rounds=1,
    customers=256,
    reads=1,
    calls={1: 8, 100: 2, 1_000: 1},
    crowds=Crowds(few=200, many=1_000, events=3, warmed=50, reads=10),
)


def measure(scale: Scale, command: str) -> dict[str, Any]:
    """Measure all, and return what came of it, ready to be written as JSON.

    Raises:
        Miscounted: something else was done than was to be.
    """
    started = datetime.now(UTC)
    there = present()
    states = {SQLITE: [PROCESS]}
    if there[POSTGRESQL]:
        states[POSTGRESQL] = [PROCESS, REDIS] if there[REDIS] else [PROCESS]
    population = Population(playbook=load(PLAYBOOK), customers=scale.customers, now=started, seed=SEED)
    found: dict[str, Any] = {"features": {}, "profiles": {}}
    with tempfile.TemporaryDirectory(prefix="tact-bench-") as name, ending_on_sigterm():
        folder = Path(name)
        settle()
        for store, kinds in states.items():
            told(f"features and profiles in {store}")
            (folder / store).mkdir()
            rounds, reads, calls = scale.rounds, scale.reads, scale.calls
            found["features"][store] = asyncio.run(
                features.measure(store, kinds, folder / store, population, rounds, reads, calls)
            )
            found["profiles"][store] = asyncio.run(
                profiles.measure(store, folder / store, population, rounds, reads, calls)
            )
        told(f"{scale.crowds.few:,} and {scale.crowds.many:,} customers")
        found["sizes"] = sizes.measure(states, folder, scale.rounds, scale.crowds)
    return {
        "command": command,
        "started": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "machine": machine.describe(),
        "scale": asdict(scale),
        "callers": IN_FLIGHT,
        "left_out": [store for store, is_there in there.items() if not is_there],
        **found,
    }
