"""The process that holds one cell: a line of JSON orders something, a line of JSON tells what came of it.

It is a process of its own so that its memory is that of nothing else.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
import time
from contextlib import closing, nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from bench.stores import past
from bench.stores.places import Opened, Place, now_micros, opened, settle
from bench.stores.turns import parts
from services.features.handlers import Key
from services.features.histories import Asked

_EVENTS_AT_ONCE = 10_000
_CUSTOMERS_AT_ONCE = 200
_SEED = 17
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Cell:
    """Obeys orders about customers of numbers below ``customers``."""

    def __init__(self, one: Opened, redis: str, customers: int) -> None:
        self._one = one
        self._redis = redis
        self._customers = customers
        self._reach = one.handlers.current.features.reach
        self._actions = list(one.playbook.actions)
        self._draw = random.Random(_SEED)
        self._drawn: list[int] = []

    async def ingest(self, each: int) -> dict[str, Any]:
        """Store so many events of each customer."""
        events = past.events(self._one.playbook, self._customers, each, now_micros())
        while batch := list(islice(events, _EVENTS_AT_ONCE)):
            await self._one.store.append(batch)
        return {"sequence": await self._one.store.newest()}

    async def fill(self, first: int) -> dict[str, Any]:
        """Load the customers from a number on, without computing anything of them.

        Tell by how many bytes Redis and this process grew, and how long a full collection of garbage takes.
        """
        settle()
        before = self._bytes()
        numbers = range(first, self._customers)
        with self._one.expecting(store=len(numbers)):
            for part in parts(numbers, _CUSTOMERS_AT_ONCE):
                now = now_micros()
                asked = [Asked((past.customer_id(number),), now) for number in part]
                await self._one.histories.read(asked, self._reach)
        grown = self._bytes() - before
        started = time.perf_counter()
        gc.collect()
        return {"bytes": grown, "collection_ms": (time.perf_counter() - started) * 1e3}

    async def warm(self, count: int) -> dict[str, Any]:
        """Read so many of the customers, drawn once for all; tell by how many bytes that made this grow."""
        self._drawn = random.Random(_SEED).sample(range(self._customers), count)
        before = self._bytes()
        with self._one.expecting(state=count):
            for number in self._drawn:
                await self._read(number)
        return {"bytes": self._bytes() - before, "customers": count}

    async def read(self, count: int, *, held: bool) -> dict[str, Any]:
        """Read so many customers, one at a time: of those that were read before, or of all.

        Tell the microseconds of each, and how many of them were held.
        """
        before = self._one.sources().get("state", 0)
        among = self._drawn if held else range(self._customers)
        with self._one.expecting(state=count) if held else nullcontext():
            taken = [await self._read(number) for number in self._draw.sample(among, count)]
        return {"us": taken, "held": self._one.sources().get("state", 0) - before}

    async def describe(self) -> dict[str, Any]:
        """Return what ``DescribeFeatures`` tells of the state."""
        return asdict(await self._one.handlers.describe())

    async def _read(self, number: int) -> float:
        key = Key(customer_id=past.customer_id(number), as_of_time=None, action_ids=self._actions)
        started = time.perf_counter()
        await self._one.handlers.vectors([key], self._one.playbook.version, 0)
        return (time.perf_counter() - started) * 1e6

    def _bytes(self) -> int:
        """Return how much memory state takes, among other things that stay as they are."""
        if not self._redis:
            return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
        from redis import Redis

        with closing(Redis.from_url(self._redis)) as client:
            return int(client.info("memory")["used_memory"])


def main() -> None:
    """Obey orders until there are no more."""
    place = Place(**json.loads(sys.argv[1]))
    asyncio.run(_obeying(place, int(sys.argv[2])))


async def _obeying(place: Place, customers: int) -> None:
    async with opened(place) as one:
        cell = Cell(one, place.redis, customers)
        for line in sys.stdin:
            order = json.loads(line)
            answer = await getattr(cell, order.pop("do"))(**order)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    # The stores are closed. To free a million customers one by one would take long.
    os._exit(0)


if __name__ == "__main__":
    main()
