"""One run: build the world, start the targets, measure them in turns, summarise."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import ledger, machine, policies, targets, world
from bench.generator import write_requests
from bench.learning import learn
from bench.messages import Recordings, write_recordings
from bench.metrics import Samples, answered, difference
from bench.population import PLAYBOOK, Population
from bench.processes import ending_on_sigterm
from bench.raw_model import RawModel
from bench.recording import Kept, medians, record
from bench.rounds import LOADS, Cell, Load, Meter, calls, generating
from bench.summary import breakdowns, disturbance, figures, generator_figures, ratios, spread
from bench.targets import Target
from services.engine.playbook.loader import load

SEED = 7
RECORDED = 50
WARM_UP = Load(in_flight=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured: a cell ends after ``seconds`` or ``requests``, whichever comes first.

    ``traced`` decisions with and without a trace are made a round, fewer where there are many candidates,
    and ``reserved`` on the contact ledger.
    """

    customers: int
    rounds: int
    seconds: float
    requests: float
    warm_up_seconds: float
    traced: int
    reserved: int


FULL = Scale(
    customers=5_000, rounds=5, seconds=2.5, requests=math.inf, warm_up_seconds=2.0, traced=100, reserved=400
)
QUICK = Scale(customers=500, rounds=1, seconds=10.0, requests=20, warm_up_seconds=0.2, traced=3, reserved=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Targets that run, and all that is needed to measure them."""

    events: int
    recordings: Recordings
    raw: RawModel
    targets: Sequence[Target]
    meter: Meter


@contextmanager
def prepared(scale: Scale, names: Sequence[str] = targets.ORDER) -> Iterator[Prepared]:
    """Build the world in a folder of its own and run the targets named, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="tact-bench-") as name, ExitStack() as stack:
        stack.enter_context(ending_on_sigterm())
        folder, now = Path(name), datetime.now(UTC)
        population = Population(playbook=load(PLAYBOOK), customers=scale.customers, now=now, seed=SEED)
        told(f"ingesting {scale.customers} customers")
        built = world.populate(folder, population)
        recorded, requests = folder / "recordings.json", folder / "requests"
        starts: dict[str, Callable[[], AbstractContextManager[Target]]] = {
            targets.TACT: lambda: targets.all_in_one(built.homes[0], folder),
            targets.FOUR: lambda: targets.four_processes(built.homes[1], folder),
            targets.ECHO: lambda: targets.echo(recorded, folder),
            targets.FLOOR: lambda: targets.floor(recorded, folder),
        }
        deciding = {name: stack.enter_context(starts[name]()) for name in targets.DECIDING if name in names}
        told("training and promoting a model")
        learned = learn(PLAYBOOK, built.homes[0].folder, now)
        told("starting what is measured")
        for target in deciding.values():
            asyncio.run(world.warm(target, population, learned.version))
        exchanges = _record(population, deciding[targets.TACT], folder)
        recordings = medians(exchanges)
        write_recordings(recorded, recordings)
        write_requests(requests, population.requests())
        raw = RawModel(learned.model, [request for request, _ in exchanges["scoring", "BatchScore"]])
        generator = stack.enter_context(generating(requests, folder / "generator.log"))
        running = [deciding.get(name) or stack.enter_context(starts[name]()) for name in names]
        # All at once, rather than each when it is its turn to be waited for.
        stack.callback(_end, running)
        yield Prepared(
            events=built.events,
            recordings=recordings,
            raw=raw,
            targets=running,
            meter=Meter(generator=generator, recordings=recordings, candidates=raw.candidates),
        )


def run(scale: Scale, command: str) -> dict[str, Any]:
    """Measure all targets in turns, and return what came of it, ready to be written as JSON.

    Raises:
        Miscounted: a request failed, or servers counted something else than was sent.
    """
    started = datetime.now(UTC)
    with prepared(scale) as ready:
        before = {target.name: target.samples() for target in ready.targets}
        seeds = itertools.count(SEED)
        sent: Counter[str] = Counter()

        def measure(target: Target, load: Load, seconds: float) -> Cell:
            cell = ready.meter.measure(
                target, load, seconds=seconds, requests=scale.requests, seed=next(seeds)
            )
            sent[target.name] += cell.sent
            return cell

        for target in ready.targets:
            measure(target, WARM_UP, scale.warm_up_seconds)
        cells: list[Cell] = []
        raw_us: list[float] = []
        for number in range(scale.rounds):
            told(f"round {number + 1} of {scale.rounds}")
            raw_us.append(ready.raw.predict_us())
            # Each round begins with another target, so that none is always the first.
            start = number % len(ready.targets)
            for load in LOADS:
                turns = (*ready.targets[start:], *ready.targets[:start])
                cells += [measure(target, load, scale.seconds) for target in turns]
        told("policies, traces and the contact ledger")
        return {
            "format": 3,
            "command": command,
            "started": started.isoformat(timespec="seconds"),
            "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
            "machine": machine.describe(),
            "cores_lost": disturbance(cells),
            "scale": {**asdict(scale), "requests": None if math.isinf(scale.requests) else scale.requests},
            "world": {
                "mode": "LIVE",
                "customers": scale.customers,
                "events": ready.events,
                "candidates": ready.raw.candidates,
                "features": ready.raw.features,
                "trees": ready.raw.trees,
            },
            "payload_bytes": {
                name: {"request": len(recording.request), "response": len(recording.response)}
                for name, recording in ready.recordings.items()
            },
            "targets": {target.name: figures(cells, target.name) for target in ready.targets},
            "ratios": ratios(cells),
            "breakdown": breakdowns(cells),
            "raw_lightgbm_us": spread(raw_us),
            "policies": policies.measure(scale.rounds, scale.traced),
            "ledger": ledger.measure(scale.rounds, scale.reserved),
            "generator": generator_figures(cells),
            "peak_rss_mib": {
                target.name: {server.name: round(server.peak_rss_mib(), 1) for server in target.servers}
                for target in ready.targets
            },
            "counted": {
                target.name: {
                    "sent": sent[target.name],
                    "ok": _counted(ready, target, before[target.name]),
                }
                for target in ready.targets
            },
        }


def _counted(ready: Prepared, target: Target, before: Samples) -> dict[str, int]:
    grown = difference(target.samples(), before)
    return {
        f"{service}/{rpc}": answered(grown, service, rpc) for service, rpc in calls(target, ready.recordings)
    }


def told(text: str) -> None:
    """Say what is being done."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def _record(population: Population, target: Target, folder: Path) -> Kept:
    ports = {name: target.services[name].port for name in targets.SERVICES[:3]}
    chosen = random.Random(SEED).sample(population.requests(), RECORDED)
    return asyncio.run(record(PLAYBOOK, folder / "recorder", ports, chosen))


def _end(running: Sequence[Target]) -> None:
    for target in running:
        for server in target.servers:
            server.end()
