"""Reads and writes, measured in turns with what the bare store does in the same round."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bench.callers import in_flight
from bench.stores.bare import Rows, Transact
from bench.summary import spread

SIZES = (1, 20, 256)
"""Customers a read."""
BATCHES = (1, 100, 1_000)
"""Items a call that writes."""
BARE = "bare"
_SEED = 11

T = TypeVar("T")


async def _nothing(customer_ids: Sequence[str]) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to read customers; ``before`` is done first and not measured."""

    read: Callable[[Sequence[str]], Awaitable[object]]
    before: Callable[[Sequence[str]], Awaitable[object]] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing(Generic[T]):
    """Items that go into a store by ``write``, and the ``rows`` of a batch, for the bare store.

    ``items`` never end and never come twice.
    """

    items: Iterator[T]
    write: Callable[[Sequence[T]], Awaitable[object]]
    rows: Callable[[Sequence[T]], Rows]
    transact: Transact


async def reads(
    ways: Mapping[str, Way], customer_ids: Sequence[str], rounds: int, times: int
) -> dict[str, Any]:
    """Return the microseconds of a read by way and size, and those divided by what the bare store takes.

    One of the ways is the bare one. A figure of a round is the median of its reads: ``times`` of the smallest
    size, fewer of larger ones. All ways read the same customers.
    """
    draw = random.Random(_SEED)
    found: dict[str, dict[int, list[float]]] = {way: {size: [] for size in SIZES} for way in ways}
    for _ in range(rounds):
        for size in SIZES:
            taken: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(_times(size, times)):
                drawn = draw.sample(customer_ids, size)
                for name, way in ways.items():
                    await way.before(drawn)
                    started = time.perf_counter()
                    await way.read(drawn)
                    taken[name].append((time.perf_counter() - started) * 1e6)
            for name, times_us in taken.items():
                found[name][size].append(statistics.median(times_us))
    return {
        name: {
            str(size): {
                "us": spread(figures),
                "ratio": spread([a / b for a, b in zip(figures, found[BARE][size], strict=True)]),
            }
            for size, figures in by_size.items()
        }
        for name, by_size in found.items()
    }


def customers_read(rounds: int, times: int) -> int:
    """Return how many customers each way reads in all."""
    return rounds * sum(size * _times(size, times) for size in SIZES)


async def writes(writing: Writing[T], rounds: int, calls: Mapping[int, int]) -> dict[str, Any]:
    """Return, by size of a batch, items a second, those of the bare store, and the one over the other.

    ``calls`` tells how many there are a round, by size. The bare store's transactions come one after
    the other.
    """
    found: dict[int, list[tuple[float, float]]] = {size: [] for size in BATCHES}
    for _ in range(rounds):
        for size in BATCHES:
            batches = [[next(writing.items) for _ in range(size)] for _ in range(calls[size])]
            count = size * len(batches)
            own = count / await in_flight(writing.write, batches)
            rows = [writing.rows(batch) for batch in batches]
            started = time.perf_counter()
            writing.transact(rows)
            found[size].append((own, count / (time.perf_counter() - started)))
    return {
        str(size): {
            "rate": spread([own for own, _ in figures]),
            BARE: spread([bare for _, bare in figures]),
            "ratio": spread([own / bare for own, bare in figures]),
        }
        for size, figures in found.items()
    }


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Divide items into lists of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _times(size: int, times: int) -> int:
    return max(min(3, times), 2 * times // (size + 1))
