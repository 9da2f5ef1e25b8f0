"""How every kind of store says that it fails."""

from collections.abc import Iterator
from contextlib import contextmanager

GARBLED = "something in it cannot be read back"


class StoreUnavailable(Exception):
    """The store cannot be read or written; nothing of the write was acknowledged."""


class WriteQueueFull(Exception):
    """Too many writes are waiting; nothing was done."""


@contextmanager
def parsing(store: str) -> Iterator[None]:
    """Raise ``StoreUnavailable`` where what the store holds is no longer what was written."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise StoreUnavailable(f"{store}: {GARBLED}") from error
