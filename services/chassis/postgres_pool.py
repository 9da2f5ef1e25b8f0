"""Connections to one PostgreSQL database, lent to one caller at a time."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from services.chassis.postgres_connection import Connection, end, is_idle
from services.chassis.stores import StoreUnavailable, WriteQueueFull

# While some connections work, so long is waited after another was refused.
_PAUSE_SECONDS: Final = 0.5
_SILENCE_SECONDS: Final = 0.1


class Pool:
    """Lends at most ``most`` connections, in the order of asking, and makes them when they are asked for.

    A connection that is returned broken is dropped, and the idle ones with it: what broke it, a restart
    or a dead path, most likely broke them too. Where no connection works, those who wait hear of the
    first failure to make one; what a caller asks later is tried anew at once. ``is_silent`` is set where
    the server said nothing at all in time: until it does, others wait for a connection but briefly.
    """

    def __init__(
        self, name: str, connect: Callable[[], Awaitable[Connection]], *, most: int, most_waiting: int
    ) -> None:
        self.most_waiting = most_waiting
        self.is_silent = False
        self._name = name
        self._connect = connect
        self._most = most
        self._lent = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection]] = deque()
        self._making: set[asyncio.Task[None]] = set()
        self._paused_until = 0.0

    @property
    def waiting(self) -> int:
        """How many callers wait for a connection."""
        return len(self._waiting)

    async def take(self, deadline: float) -> Connection:
        """Borrow a connection until it is given back; ``deadline`` is a time of the loop's clock.

        Raises:
            WriteQueueFull: ``most_waiting`` callers are waiting.
            StoreUnavailable: there is none to be had, or none in time.
        """
        if self._idle:
            self._lent += 1
            return self._idle.pop()
        if len(self._waiting) >= self.most_waiting:
            raise WriteQueueFull(f"{self._name}: {self.most_waiting} callers are waiting")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Connection] = loop.create_future()
        self._waiting.append(turn)
        self._make()
        late = StoreUnavailable(f"{self._name}: no connection in time")
        if self.is_silent:
            deadline = min(deadline, loop.time() + _SILENCE_SECONDS)
        timer = loop.call_at(deadline, self._refuse, turn, late)
        try:
            return await turn
        finally:
            timer.cancel()

    def give(self, connection: Connection) -> None:
        """Take a connection back."""
        self._lent -= 1
        if is_idle(connection):
            self._lend(connection)
        else:
            for broken in (connection, *self._idle):
                end(broken)
            self._idle.clear()
        self._make()

    async def close(self) -> None:
        """End all connections; none may be lent any more."""
        if self._making:
            await asyncio.wait(self._making)
        for connection in self._idle:
            end(connection)

    def _lend(self, connection: Connection) -> None:
        self.is_silent = False
        if self._waiting:
            self._lent += 1
            self._waiting.popleft().set_result(connection)
        else:
            self._idle.append(connection)

    def _refuse(self, turn: "asyncio.Future[Connection]", error: StoreUnavailable) -> None:
        # Whose turn has come is not in the queue.
        with suppress(ValueError):
            self._waiting.remove(turn)
            turn.set_exception(error)
            # While some are lent, others are merely slow to give them back.
            self.is_silent = not self._lent

    def _make(self) -> None:
        loop = asyncio.get_running_loop()
        if self._lent and loop.time() < self._paused_until:
            return
        room = self._most - self._lent - len(self._idle) - len(self._making)
        for _ in range(min(room, len(self._waiting) - len(self._making))):
            task = loop.create_task(self._add())
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def _add(self) -> None:
        try:
            connection = await self._connect()
        except StoreUnavailable as error:
            self._paused_until = asyncio.get_running_loop().time() + _PAUSE_SECONDS
            # Those that are lent will be given back.
            while self._waiting and not self._lent:
                self._waiting.popleft().set_exception(StoreUnavailable(str(error)))
        else:
            self._lend(connection)
