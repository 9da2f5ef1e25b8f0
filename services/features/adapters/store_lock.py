"""One process for one feature store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.chassis.sqlite import StoreUnavailable


class StoreInUse(StoreUnavailable):
    """Another process serves the same store; the message names the file and the process."""


@contextmanager
def exclusive(store: Path) -> Iterator[None]:
    """Hold a store for this process alone; the system lets go when the process dies.

    The lock is a file beside the store, because SQLite drops its own locks on a file that
    anyone in the process closes.

    Raises:
        StoreInUse: it is held.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{store}.lock", "a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StoreInUse(
                f"{store} is served by another process (pid {file.read().strip() or 'unknown'}); "
                "the in-process feature store takes one"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
