"""Callers that work through items, several at once."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

IN_FLIGHT = 8

T = TypeVar("T")


async def in_flight(one: Callable[[T], Awaitable[object]], items: Iterable[T]) -> float:
    """Work through items, ``IN_FLIGHT`` at once; return the seconds."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await one(item)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in itertools.repeat(None, IN_FLIGHT)))
    return time.perf_counter() - started
