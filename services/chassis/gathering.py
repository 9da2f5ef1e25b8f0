"""Work that costs as much for many as for one: what comes while some is under way is done together next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Generic, NamedTuple, TypeVar

from services.chassis.deadline import patience
from services.chassis.stores import StoreUnavailable, WriteQueueFull

T = TypeVar("T")
R = TypeVar("R")
N = TypeVar("N")


class _Waiting(NamedTuple):
    items: Sequence[Any]
    done: "asyncio.Future[Any]"


class Gathering(Generic[T, R, N]):
    """Does ``work(items)`` for several callers at once, one call of it at a time.

    It returns a result for each item in order, and a note for all. Callers are gathered until they have
    ``most`` items; one that has more goes alone. ``most_waiting`` may wait.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Awaitable[tuple[Sequence[R], N]]],
        *,
        most: int,
        most_waiting: int,
    ) -> None:
        self._work = work
        self._most = most
        self._most_waiting = most_waiting
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """How many callers wait for their turn."""
        return len(self._waiting)

    async def add(self, items: Sequence[T]) -> tuple[Sequence[R], N]:
        """Return the results of items, and the note.

        Raises:
            WriteQueueFull: ``most_waiting`` callers wait.
            StoreUnavailable: no answer in time for the call at hand; what was begun may still be done.
        """
        if self.depth >= self._most_waiting:
            raise WriteQueueFull(f"{self._most_waiting} callers are waiting")
        waiting = _Waiting(items, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._working is None:
            # Whoever comes first does not lend its deadline to the others.
            self._working = asyncio.get_running_loop().create_task(self._run(), context=Context())
        try:
            async with asyncio.timeout(patience()):
                results, note = await waiting.done
        except TimeoutError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            raise StoreUnavailable("no answer in time: it is slow, or out of reach") from None
        return results, note

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._together(self._gathered())
        finally:
            self._working = None

    def _gathered(self) -> list[_Waiting]:
        found = [self._waiting.popleft()]
        size = len(found[0].items)
        while self._waiting and size + len(self._waiting[0].items) <= self._most:
            found.append(self._waiting.popleft())
            size += len(found[-1].items)
        return found

    async def _together(self, callers: Sequence[_Waiting]) -> None:
        try:
            results, note = await self._work([item for caller in callers for item in caller.items])
        except Exception as error:
            for caller in callers:
                if not caller.done.done():
                    caller.done.set_exception(error)
            return
        start = 0
        for caller in callers:
            end = start + len(caller.items)
            if not caller.done.done():
                caller.done.set_result((results[start:end], note))
            start = end
