"""Lets those who were overtaken on a customer's ledger go on one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

from services.chassis.deadline import patience
from services.gateway.ports import NotLogged

_LATE: Final = "others decide about the customer as well, and the turn did not come in time"


class Turns:
    """One queue for each customer, while somebody waits in it; ``observe`` sees each conflict.

    A first attempt takes no turn: conflicts are rare, and other processes do not queue here.
    """

    def __init__(self, observe: Callable[[], None]) -> None:
        self._observe = observe
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[Turn]:
        """Give whoever changes a customer's ledger a turn to wait for; it ends with the block."""
        turn = Turn(self._queues, self._observe)
        try:
            yield turn
        finally:
            turn.leave()


class Turn:
    """The right to go on before others who were overtaken as well."""

    def __init__(self, queues: WeakValueDictionary[str, asyncio.Lock], observe: Callable[[], None]) -> None:
        self._queues, self._observe = queues, observe
        self._held: asyncio.Lock | None = None

    async def wait(self, customer_id: str) -> None:
        """Wait, having been overtaken; who has a turn already goes on.

        Raises:
            NotLogged: the turn does not come while the call at hand can still be answered.
        """
        self._observe()
        if self._held is None:
            queue = self._queues.setdefault(customer_id, asyncio.Lock())
            try:
                async with asyncio.timeout(patience()):
                    await queue.acquire()
            except TimeoutError:
                raise NotLogged(_LATE) from None
            self._held = queue

    def leave(self) -> None:
        """Let the next one go on."""
        if self._held is not None:
            self._held.release()
