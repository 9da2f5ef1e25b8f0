"""Memory and disk of each customer, and whether reads slow down where there are very many."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import databases
import redises

from bench.metrics import Miscounted
from bench.processes import environment_of_tests, stop
from bench.stores.places import FILE, Place
from bench.stores.servers import POSTGRESQL, REDIS
from bench.summary import spread
from services.features.settings import FeatureSettings

_DISK = """
    SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
    WHERE relnamespace = 'features'::regnamespace AND relkind = 'r'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowds:
    """How many customers there are, first few and then many, and how many of them are read.

    Each has so many ``events``. ``warmed`` are read once before anything is measured, then ``reads`` of
    them a round.
    """

    few: int
    many: int
    events: int
    warmed: int
    reads: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Both numbers of customers."""
        return self.few, self.many


@dataclass(kw_only=True)
class Cell:
    """A process that holds so many ``customers``, and what came of the orders to it so far."""

    place: Place
    customers: int
    process: subprocess.Popen[str]
    log: Path
    answers: dict[str, Any] = field(default_factory=dict)
    p50_us: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)

    def read(self, count: int, *, held: bool) -> None:
        """Read customers in a round, held ones or any."""
        (answer,) = _told([self], "read", count=count, held=held)
        self.p50_us.append(statistics.median(answer["us"]))
        self.held.append(answer["held"] / count)


def measure(states: Mapping[str, Sequence[str]], folder: Path, rounds: int, crowds: Crowds) -> dict[str, Any]:
    """Return bytes of customers and the p50 of reads, by the store and the kind of state on it.

    Of one customer ``loaded_bytes`` are in memory once it is loaded, and ``computed_bytes`` more once its
    features are computed; ``described`` is what the service itself tells of both. ``bounded`` is a process
    that holds as much as it does by default, of many customers. Cells are read in turns.

    Raises:
        Miscounted: a cell failed, or read something else than it was told to.
    """
    bound = FeatureSettings().held_events
    with ExitStack() as stack:
        places = {
            (store, size): Place(store=_made(stack, store, folder / f"{store}-{size}"))
            for store in states
            for size in crowds.sizes
        }
        for size in crowds.sizes:
            _ingest([place for (_, of), place in places.items() if of == size], size, crowds.events, folder)
        pairs = [(store, state) for store, kinds in states.items() for state in kinds]
        cells: dict[tuple[str, str], list[Cell]] = {pair: [] for pair in pairs}
        for size in crowds.sizes:
            for store, state in pairs:
                place = places[store, size]
                if state == REDIS:
                    prefix = stack.enter_context(redises.prefix())
                    place = replace(place, redis=redises.SERVER, prefix=prefix)
                cells[store, state].append(stack.enter_context(_running(place, size, folder)))
            # One size after the other, so that Redis grows by those of one cell only.
            _told([found[-1] for found in cells.values()], "fill", first=0)
        _told([cell for found in cells.values() for cell in found], "warm", count=crowds.warmed)
        bounded = {
            pair: stack.enter_context(
                _running(replace(found[-1].place, held_events=bound), crowds.many, folder)
            )
            for pair, found in cells.items()
            if not found[-1].place.redis
        }
        _told(bounded.values(), "fill", first=max(0, crowds.many - bound // crowds.events - 1))
        for _ in range(rounds):
            for pair, (few, many) in cells.items():
                few.read(crowds.reads, held=True)
                many.read(crowds.reads, held=True)
                if pair in bounded:
                    bounded[pair].read(crowds.reads, held=False)
        return {
            f"{store}, {state}": _pair(*cells[store, state], bounded.get((store, state)))
            for store, state in pairs
        }


def _pair(few: Cell, many: Cell, bounded: Cell | None) -> dict[str, Any]:
    sizes = {str(cell.customers): _size(cell) for cell in (few, many)}
    found: dict[str, Any] = {"sizes": sizes, "ratio": _ratio(many, few)}
    if bounded is not None:
        (described,) = _told([bounded], "describe")
        found["bounded"] = {
            "events": bounded.place.held_events,
            "customers": described["customers"],
            "loaded_bytes": bounded.answers["fill"]["bytes"],
            "held": spread(bounded.held),
            "us": spread(bounded.p50_us),
            "ratio": _ratio(bounded, few),
        }
    return found


def _size(cell: Cell) -> dict[str, Any]:
    (described,) = _told([cell], "describe")
    fill, warm = cell.answers["fill"], cell.answers["warm"]
    return {
        "disk_bytes": round(_disk_bytes(cell.place) / cell.customers),
        "loaded_bytes": round(fill["bytes"] / cell.customers),
        "computed_bytes": 0 if cell.place.redis else round(warm["bytes"] / warm["customers"]),
        "described": described,
        "collection_ms": round(fill["collection_ms"]),
        "us": spread(cell.p50_us),
    }


def _ratio(one: Cell, other: Cell) -> dict[str, float]:
    return spread([a / b for a, b in zip(one.p50_us, other.p50_us, strict=True)])


def _made(stack: ExitStack, store: str, folder: Path) -> str:
    """Make a place for events."""
    folder.mkdir()
    return stack.enter_context(databases.postgresql()) if store == POSTGRESQL else str(folder)


def _ingest(places: Sequence[Place], customers: int, events: int, folder: Path) -> None:
    """Fill stores, all at the same time, by processes that end thereafter and leave files folded up."""
    with ExitStack() as stack:
        cells = [stack.enter_context(_running(place, customers, folder)) for place in places]
        for answer in _told(cells, "ingest", each=events):
            if answer["sequence"] != customers * events:
                raise Miscounted(f"of {customers * events} events a store has {answer['sequence']}")
    for place in places:
        if not place.is_file:
            # It would do so by itself soon, in the middle of what is measured.
            with databases.administrator(place.store) as server:
                server.execute("VACUUM (ANALYZE) features.events")


def _disk_bytes(place: Place) -> int:
    if place.is_file:
        return sum(path.stat().st_size for path in Path(place.store).glob(f"{FILE}*"))
    with databases.administrator(place.store) as server:
        return int(server.execute(_DISK).fetchone()[0])


@contextmanager
def _running(place: Place, customers: int, folder: Path) -> Iterator[Cell]:
    log = folder / "cell.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.stores.cell", json.dumps(asdict(place)), str(customers)],
            env=environment_of_tests(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Cell(place=place, customers=customers, process=process, log=log)
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        finally:
            stop(process)


def _told(cells: Collection[Cell], do: str, **order: Any) -> list[dict[str, Any]]:
    """Tell several cells the same, and wait for what comes of it.

    Raises:
        Miscounted: one of them failed.
    """
    for cell in cells:
        assert cell.process.stdin is not None
        cell.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        cell.process.stdin.flush()
    for cell in cells:
        assert cell.process.stdout is not None
        if not (line := cell.process.stdout.readline()):
            raise Miscounted(f"a cell ended: {cell.log.read_text()[-1000:]}")
        cell.answers[do] = json.loads(line)
    return [cell.answers[do] for cell in cells]
