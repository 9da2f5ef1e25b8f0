"""The deadline of the call at hand, known to whatever waits on its behalf."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Remaining = Callable[[], float | None]

# Who waits must leave time for the answer that says so.
_SHARE = 0.8


def no_deadline() -> None:
    """Tell that the caller waits for ever."""


_of_call: ContextVar[Remaining] = ContextVar("remaining", default=no_deadline)


@contextmanager
def answering(remaining: Remaining) -> Iterator[None]:
    """Answer a call whose caller waits ``remaining()`` more seconds, None for ever."""
    token = _of_call.set(remaining)
    try:
        yield
    finally:
        _of_call.reset(token)


def patience(share: float = _SHARE) -> float | None:
    """Return how many seconds may be waited for one thing so that the call is still answered in time.

    That is a ``share`` of what is left; less than by default where more things follow. None outside
    of a call, and for a call without a deadline.
    """
    remaining = _of_call.get()()
    return None if remaining is None else max(remaining, 0.0) * share
