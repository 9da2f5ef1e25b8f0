"""Borrowed values: held in memory, each for its time, and nowhere else."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter
from typing import Final

from services.engine.playbook.values import Value
from services.profile.domain.attributes import Attribute

_Key = tuple[str, int]
_MOST_AT_ONCE: Final = 100
_BY_TIME: Final = attrgetter("record_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowed:
    """A borrowed value, None from when on it was missing; ``end`` is when to let go of it."""

    name: str
    value: Value | None = field(repr=False)
    record_time: int
    end: int
    source: str


class BorrowedValues:
    """Holds at most ``most`` values; beyond, those that came first go first.

    Times are microseconds and never read from a clock. A value goes together with all earlier ones of
    the same customer and name, so that none of them shows again in its place.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._arrivals = count()
        self._histories: dict[tuple[str, str], list[Borrowed]] = {}
        # By name, in order of arrival, with its number and the end. Values of one name last equally
        # long, so the first to come is the first to end, but for those that came late.
        self._arrived: dict[str, OrderedDict[_Key, tuple[int, int]]] = {}

    def __len__(self) -> int:
        # Metrics ask from a thread of their own.
        return sum(map(len, list(self._arrived.values())))

    def hold(self, customer_id: str, values: Iterable[Borrowed], now: int) -> int:
        """Take values whose time is not up; return how many had to go before theirs was.

        Of two values with the same customer, name and record time, the later one stays.
        """
        self.let_go(now)
        for value in values:
            if now < value.end:
                self._put(customer_id, value)
        evicted = 0
        while len(self) > self._most:
            waiting = (name for name, arrived in self._arrived.items() if arrived)
            name = min(waiting, key=lambda name: self._first(name)[1])
            evicted += sum(now < value.end for value in self._drop(name, self._first(name)[0]))
        return evicted

    def read(
        self, customer_id: str, names: Iterable[str], before: int | None, now: int
    ) -> dict[str, Attribute]:
        """Return the newest values by name that were recorded ``before`` a time, the missing left out."""
        self.let_go(now)
        found = {}
        for name in names:
            history = self._histories.get((customer_id, name), [])
            index = len(history) if before is None else bisect_left(history, before, key=_BY_TIME)
            newest = history[index - 1] if index else None
            if newest is not None and newest.value is not None and now < newest.end:
                found[name] = Attribute(newest.value, newest.record_time, newest.source)
        return found

    def forget(self, customer_ids: Iterable[str]) -> None:
        """Forget all values of customers."""
        for customer_id in customer_ids:
            for name, arrived in self._arrived.items():
                for value in self._histories.pop((customer_id, name), ()):
                    del arrived[customer_id, value.record_time]

    def let_go(self, now: int) -> None:
        """Forget values whose time is up, of each name a few at most, so that no call takes long.

        One that came late may stay until those before it go, but is read by nobody.
        """
        for name, arrived in self._arrived.items():
            for _ in range(_MOST_AT_ONCE):
                if not arrived or now < self._first(name)[2]:
                    break
                self._drop(name, self._first(name)[0])

    def _first(self, name: str) -> tuple[_Key, int, int]:
        key, (number, end) = next(iter(self._arrived[name].items()))
        return key, number, end

    def _put(self, customer_id: str, value: Borrowed) -> None:
        arrived = self._arrived.setdefault(value.name, OrderedDict())
        history = self._histories.setdefault((customer_id, value.name), [])
        index = bisect_left(history, value.record_time, key=_BY_TIME)
        key = (customer_id, value.record_time)
        history[index : index + (key in arrived)] = [value]
        arrived[key] = (next(self._arrivals), value.end)
        arrived.move_to_end(key)

    def _drop(self, name: str, key: _Key) -> list[Borrowed]:
        customer_id, record_time = key
        history = self._histories[customer_id, name]
        dropped = history[: bisect_right(history, record_time, key=_BY_TIME)]
        del history[: len(dropped)]
        if not history:
            del self._histories[customer_id, name]
        for value in dropped:
            del self._arrived[name][customer_id, value.record_time]
        return dropped
