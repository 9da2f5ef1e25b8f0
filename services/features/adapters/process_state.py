"""States of customer ids in the memory of this process."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import islice
from types import FunctionType, ModuleType
from typing import Final

from services.features.domain.states import State, Version, nothing
from services.features.metrics import FeatureMetrics
from services.features.ports import Described

_MOST_SAMPLED: Final = 100


class ProcessState:
    """Implements ``StateStore``: holds states until together they have more than ``most_events``.

    Each counts as one event more than it has. Those that were not used for longest go first.
    """

    def __init__(self, most_events: int, metrics: FeatureMetrics) -> None:
        self._most_events = most_events
        self._metrics = metrics
        self._held: OrderedDict[str, State] = OrderedDict()
        self._events = 0

    async def get(self, customer_ids: Sequence[str]) -> list[State | None]:
        """Return the state of each customer id."""
        found = [self._held.get(customer_id) for customer_id in customer_ids]
        for customer_id, state in zip(customer_ids, found, strict=True):
            if state is not None:
                self._held.move_to_end(customer_id)
        return found

    async def put(self, states: Mapping[str, State]) -> None:
        """Hold states, but none that is larger than all may be together."""
        for customer_id, state in states.items():
            held = self._held.get(customer_id)
            if held is not None and held.version > state.version:
                continue
            self._drop(customer_id)
            if _weight(state) <= self._most_events:
                self._held[customer_id] = state
                self._events += _weight(state)
        self._make_room()

    async def forget(self, customer_ids: Sequence[str], change: int) -> None:
        """Let go of customer ids, of which a read that began before may still want to put what it found."""
        await self.put({customer_id: nothing(Version(change, 0)) for customer_id in customer_ids})

    def _make_room(self) -> None:
        while self._events > self._most_events:
            self._drop(next(iter(self._held)))
        self._show()

    async def describe(self) -> Described:
        """Measure those that were used last, with what was derived from them; other calls run in between.

        What several of them share counts once.
        """
        sampled = list(islice(reversed(self._held.items()), _MOST_SAMPLED))
        seen: set[int] = set()
        size = 0
        for each in sampled:
            size += _size(each, seen)
            await asyncio.sleep(0)
        return Described(
            kind="process",
            customers=len(self._held),
            bytes_per_customer=size / len(sampled) if sampled else None,
            sampled=len(sampled),
        )

    def _drop(self, customer_id: str) -> None:
        if (state := self._held.pop(customer_id, None)) is not None:
            self._events -= _weight(state)

    def _show(self) -> None:
        self._metrics.held_customers.set(len(self._held))
        self._metrics.held_events.set(self._events)


def _weight(state: State) -> int:
    return 1 + len(state.events)


def _size(root: object, seen: set[int]) -> int:
    """Return the bytes of an object and all that it leads to, code and what was ``seen`` left out."""
    waiting, size = [root], 0
    while waiting:
        found = waiting.pop()
        if id(found) not in seen and not isinstance(found, type | FunctionType | ModuleType):
            seen.add(id(found))
            size += sys.getsizeof(found)
            waiting += gc.get_referents(found)
    return size
