"""A PostgreSQL database, used within the deadline of the call at hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

import psycopg

from services.chassis.deadline import patience
from services.chassis.postgres_connection import (
    Connection,
    connect,
    cutting,
    end,
    is_lost,
    is_undone,
    store_name,
    unavailable,
)
from services.chassis.postgres_migrations import migrate
from services.chassis.postgres_pool import Pool
from services.chassis.stores import StoreUnavailable, WriteQueueFull, parsing

__all__ = ["Connection", "Postgres", "StoreUnavailable", "Work", "WriteQueueFull", "parsing"]

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]

# What is waited for outside of a call, and for one without a deadline.
_SECONDS: Final = 5.0
# A write mostly comes last. After a read much is still to be done, perhaps without what it should tell.
_READ_SHARE: Final = 0.4
_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.01
# So long a plan is used, however much its tables grow meanwhile.
_PLAN_SECONDS: Final = 5.0
# A statement that the server ends by itself leaves the connection whole.
_STATEMENT_SHARE: Final = 0.9


class Postgres:
    """One database, reached over a few connections from one event loop.

    Everything ends in time for the call at hand: a server that is gone, restarts, is silent, has no
    connection to spare or a lock held by another shows as ``StoreUnavailable``, and the next
    call tries anew. No error repeats a value, an address or a password.
    """

    def __init__(self, name: str, pool: Pool) -> None:
        self.name = name
        self._pool = pool
        self._tasks: set[asyncio.Task[object]] = set()
        self._planned: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        self._closed = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        migrations: Sequence[str],
        *,
        schema: str,
        connections: int = 8,
        queue_limit: int = 10_000,
    ) -> AsyncIterator["Postgres"]:
        """Reach a database, and bring what it holds under the name ``schema`` up to date.

        ``migrations`` are SQL scripts in order, without transactions of their own; the database
        remembers how many of them it has seen, and each is applied once, whole or not at all. Tables lie
        in the schema of that name where a migration makes it, apart from those of others in the same
        database. At most ``connections`` are open; ``queue_limit`` callers may wait for one. On the way
        out what was begun is done first.

        Raises:
            StoreUnavailable: the database is out of reach, or newer than ``migrations``.
        """
        name = store_name(url)
        pool = Pool(name, partial(connect, url, schema), most=connections, most_waiting=queue_limit)
        postgres = cls(name, pool)
        try:
            await postgres._migrate(schema, migrations)
            yield postgres
        finally:
            postgres._closed = True
            if postgres._tasks:
                await asyncio.wait(postgres._tasks)
            await pool.close()

    @property
    def queue_depth(self) -> int:
        """How many callers wait for a connection."""
        return self._pool.waiting

    @property
    def queue_limit(self) -> int:
        """How many may."""
        return self._pool.most_waiting

    @property
    def is_writable(self) -> bool:
        """False once closed.

        It stays true while the server is out of reach: that ends without a restart of this process.
        """
        return not self._closed

    async def read(self, work: Work[T]) -> T:
        """Return what ``work(connection)`` reads; each of its statements sees what is committed by then.

        Where the connection breaks, ``work`` is begun again on another.

        Raises:
            WriteQueueFull: ``queue_limit`` callers are waiting.
            StoreUnavailable: the database cannot be read in time, or at all, or is closed.
        """

        async def attempt(connection: Connection, deadline: float) -> T:
            return await work(connection)

        return await self._within(attempt, patience(_READ_SHARE))

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Run ``work(connection)`` in a transaction at READ COMMITTED; return its result once committed.

        Where the server undoes the transaction for the sake of another, or the connection breaks before
        the commit was sent, all is begun again, so ``work`` has no effects but in the database. Where
        it breaks during the commit, nobody can know whether the write was done, as with a
        caller that is cancelled; any other write that fails was not done, and is not done later.

        A write is on the server's disk before this returns. One that is ``durable`` also waits for
        those standbys that the server is told to wait for, any other does not.

        Raises:
            WriteQueueFull: ``queue_limit`` callers are waiting.
            StoreUnavailable: the database cannot be written in time, or at all, or is closed.
        """
        return await self._within(partial(self._transact, work, durable), patience())

    async def _within(self, attempt: Callable[[Connection, float], Awaitable[T]], seconds: float | None) -> T:
        if self._closed:
            raise StoreUnavailable(f"{self.name} is closed")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (_SECONDS if seconds is None else seconds)
        # The driver answers a cancel only once the server does; so a caller goes alone.
        task = loop.create_task(self._persist(attempt, deadline))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Whoever waited for it may be gone.
            task.exception()

    async def _persist(self, attempt: Callable[[Connection, float], Awaitable[T]], deadline: float) -> T:
        attempts = 0
        while True:
            attempts += 1
            connection = await self._pool.take(deadline)
            try:
                with cutting(connection, deadline):
                    await self._plan_anew(connection)
                    return await attempt(connection, deadline)
            except psycopg.Error as error:
                late = asyncio.get_running_loop().time() >= deadline
                lost = is_lost(connection, error)
                if lost:
                    end(connection)
                    self._pool.is_silent = late
                if late or attempts == _ATTEMPTS or not (lost or is_undone(error)):
                    raise unavailable(self.name, error, late=late) from None
            finally:
                self._pool.give(connection)
            # Who it was undone for goes first.
            await asyncio.sleep(_PAUSE_SECONDS * attempts)

    async def _plan_anew(self, connection: Connection) -> None:
        """Let go of plans that were made for tables as they were a while ago."""
        now = asyncio.get_running_loop().time()
        if now >= self._planned.setdefault(connection, now) + _PLAN_SECONDS:
            await connection.execute("DISCARD PLANS")
            self._planned[connection] = now

    async def _transact(self, work: Work[T], durable: bool, connection: Connection, deadline: float) -> T:
        left = deadline - asyncio.get_running_loop().time()
        await connection.execute(
            "BEGIN ISOLATION LEVEL READ COMMITTED; "
            f"SET LOCAL statement_timeout = {max(1, int(left * 1000 * _STATEMENT_SHARE))}; "
            f"SET LOCAL synchronous_commit = {'on' if durable else 'local'}"
        )
        try:
            result = await work(connection)
        except BaseException:
            with suppress(psycopg.Error):
                await connection.execute("ROLLBACK")
            raise
        await self._commit(connection)
        return result

    async def _commit(self, connection: Connection) -> None:
        try:
            committed = await connection.execute("COMMIT")
        except psycopg.Error as error:
            if is_undone(error):
                raise
            end(connection)
            raise StoreUnavailable(
                f"{self.name}: the connection broke during the commit, which may have been done"
            ) from None
        if committed.statusmessage != "COMMIT":
            raise StoreUnavailable(f"{self.name}: the transaction was undone")

    async def _migrate(self, schema: str, migrations: Sequence[str]) -> None:
        connection = await self._pool.take(asyncio.get_running_loop().time() + _SECONDS)
        try:
            await migrate(connection, self.name, schema, migrations)
        except psycopg.Error as error:
            end(connection)
            raise unavailable(self.name, error) from None
        finally:
            self._pool.give(connection)
