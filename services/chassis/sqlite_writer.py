"""The thread that writes a SQLite file, many callers to one commit."""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from services.chassis import telemetry
from services.chassis.sqlite_file import is_io_error, is_store_error, is_unreadable, unavailable

T = TypeVar("T")
Write = Callable[[sqlite3.Connection], T]

GROUP_LIMIT = 512
# The promise is 50 ms; the rest is left to the group in progress and to the disk.
SYNC_AFTER_SECONDS = 0.025

_sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


@dataclass(slots=True)
class Job:
    """One write on its way; ``done`` resolves on its caller's loop once result or error is set."""

    write: Write[Any]
    durable: bool
    done: asyncio.Future[None]
    result: Any = None
    error: Exception | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """Claim the job: either the writer does it, or its caller withdraws it; False for who is late."""
        return not self.done.done() and self._turn.acquire(blocking=False)

    def withdraw(self, error: Exception) -> None:
        """Fail with ``error`` instead of being done; too late once the writer took the job."""
        if self.take():
            self.error = error
            self.done.set_result(None)


class Writer:
    """Owns the only connection that writes. ``None`` in ``jobs`` ends it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._path = path
        self._connection = connection
        self._loop = loop
        self._ending = False
        self._syncs_commits: bool | None = None
        self._sync_due: float | None = None
        self.broken: str | None = None

    def run(self) -> None:
        """Write until told to end, then fold the log into the file."""
        while not self._ending:
            if group := self._take():
                self._write(group)
            if self._sync_due is not None and time.monotonic() >= self._sync_due:
                self._sync_log()
        self._close()

    def _take(self) -> list[Job]:
        """Take what waits at this moment, or nothing when a sync falls due first."""
        group: list[Job] = []
        timeout = None if self._sync_due is None else max(0.0, self._sync_due - time.monotonic())
        with contextlib.suppress(queue.Empty):
            job = self.jobs.get(timeout=timeout)
            while job is not None:
                group.append(job)
                if len(group) == GROUP_LIMIT:
                    return group
                job = self.jobs.get_nowait()
            self._ending = True
        return group

    def _write(self, group: Sequence[Job]) -> None:
        # What was withdrawn while it waited must not keep the others waiting for the file.
        group = [job for job in group if not job.done.done()]
        if not group:
            return
        try:
            self._commit(group)
        except Exception as error:
            for job in group:
                job.error = unavailable(self._path, error)
        # A closed loop has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_resolve, group)

    def _commit(self, group: Sequence[Job]) -> None:
        if self.broken is not None:
            raise OSError(self.broken)
        connection = self._connection
        durable = any(job.durable for job in group)
        if durable != self._syncs_commits:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._syncs_commits = durable
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in group:
                if job.take():
                    self._apply(job)
            connection.execute("COMMIT")
        except BaseException as error:
            if is_io_error(error):
                self._give_up(str(error))
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if durable:
            self._sync_due = None
        elif self._sync_due is None:
            self._sync_due = time.monotonic() + SYNC_AFTER_SECONDS

    def _apply(self, job: Job) -> None:
        connection = self._connection
        connection.execute("SAVEPOINT job")
        try:
            job.result = job.write(connection)
        except Exception as error:
            # A store that fails may have rolled the whole group back by itself.
            if is_store_error(error) or not connection.in_transaction:
                raise
            job.error = unavailable(self._path, error) if is_unreadable(error) else error
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")

    def _sync_log(self) -> None:
        self._sync_due = None
        try:
            log = os.open(f"{self._path}-wal", os.O_RDONLY)
            try:
                _sync_data(log)
            finally:
                os.close(log)
        except OSError as error:
            self._give_up(str(error.strerror))

    def _give_up(self, reason: str) -> None:
        # The system may have dropped the pages that it could not write, so that a later sync
        # would succeed over a hole in the log.
        self.broken = f"the log could not be synced ({reason}); restart to recover"
        telemetry.logger.error("%s: %s", self._path.name, self.broken)

    def _close(self) -> None:
        if self._sync_due is not None:
            self._sync_log()
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            telemetry.logger.warning("%s: the log stays beside the file: %s", self._path.name, error)
        self._connection.close()


def _resolve(group: Sequence[Job]) -> None:
    for job in group:
        if not job.done.done():
            job.done.set_result(None)
