"""A SQLite file with one writer that commits in groups, and a reader for point reads."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from services.chassis.deadline import patience
from services.chassis.sqlite_file import (
    connect_reader,
    connect_writer,
    is_store_error,
    is_unreadable,
    migrate,
    parsing,
    unavailable,
)
from services.chassis.sqlite_writer import Job, Write, Writer
from services.chassis.stores import StoreUnavailable, WriteQueueFull

__all__ = ["Database", "StoreUnavailable", "Write", "WriteQueueFull", "parsing"]

T = TypeVar("T")


class Database:
    """One SQLite file in WAL mode, used from one event loop.

    ``read`` is for short indexed reads on the loop's own thread. It refuses writes, sees every
    write that was acknowledged, and raises ``StoreUnavailable`` where the file fails. Fetch all
    rows of a cursor: one that is left open pins the snapshot it began with.
    """

    def __init__(self, path: Path, read: sqlite3.Connection, writer: Writer, queue_limit: int) -> None:
        self.path = path
        self.read = read
        self.queue_limit = queue_limit
        self._writer = writer
        self._closed = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, path: Path | str, migrations: Sequence[str], *, queue_limit: int = 10_000
    ) -> AsyncIterator["Database"]:
        """Open a file, making it and its folder where absent, and bring its schema up to date.

        ``migrations`` are SQL scripts in order; the file remembers how many of them it has
        seen, and each is applied whole or not at all. On the way out every queued write is
        done first, then the write-ahead log is folded into the file.

        Raises:
            StoreUnavailable: the file cannot be opened, or is newer than ``migrations``.
        """
        path = Path(path)
        writing = await asyncio.to_thread(_open, path, migrations)
        writer = Writer(path, writing, asyncio.get_running_loop())
        thread = threading.Thread(target=writer.run, name=f"{path.stem}-writer", daemon=True)
        thread.start()
        try:
            with contextlib.closing(connect_reader(path)) as read:
                database = cls(path, read, writer, queue_limit)
                try:
                    yield database
                finally:
                    database._closed = True
        finally:
            writer.jobs.put(None)
            await asyncio.to_thread(thread.join)

    @property
    def queue_depth(self) -> int:
        """How many writes wait for the writer."""
        return self._writer.jobs.qsize()

    @property
    def is_writable(self) -> bool:
        """False once closed, or once the disk has failed to sync what was acknowledged."""
        return not self._closed and self._writer.broken is None

    async def write(self, write: Write[T], *, durable: bool = True) -> T:
        """Run ``write(connection)`` in the writer thread; return its result once committed.

        Writes that wait at the same moment share one transaction, each in a savepoint of its
        own: one that raises is undone alone and its exception is raised here. ``write`` must
        not end the transaction. A durable write is on disk before this returns; any other
        survives the death of the process at once and a power cut after 50 ms. A caller that
        is cancelled cannot know whether its write was done.

        A write whose turn does not come while the call at hand can still be answered is not
        done at all: the file is locked by another process, or the disk is slow.

        Raises:
            WriteQueueFull: ``queue_limit`` writes are waiting.
            StoreUnavailable: the file cannot be written in time, or at all, or is closed.
        """
        if self._closed:
            raise StoreUnavailable(f"{self.path.name} is closed")
        if self.queue_depth >= self.queue_limit:
            raise WriteQueueFull(f"{self.path.name}: {self.queue_limit} writes are waiting")
        job = Job(write, durable, asyncio.get_running_loop().create_future())
        self._writer.jobs.put(job)
        with self._patient(job):
            await job.done
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    @contextlib.contextmanager
    def _patient(self, job: Job) -> Iterator[None]:
        """Withdraw a job whose turn does not come in time for the call at hand."""
        if (seconds := patience()) is None:
            yield
            return
        late = StoreUnavailable(f"{self.path.name}: no turn to write in time, the file is locked or slow")
        timer = job.done.get_loop().call_later(seconds, job.withdraw, late)
        try:
            yield
        finally:
            timer.cancel()


def _open(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    connection = connect_writer(path)
    try:
        migrate(connection, path, migrations)
    except BaseException as error:
        connection.close()
        if is_store_error(error) or is_unreadable(error):
            raise unavailable(path, error) from error
        raise
    return connection
