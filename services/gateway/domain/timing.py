"""Measures the stages of one decision, and shares out its deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

READ_SHARE: Final = 0.4
SCORE_SHARE: Final = 0.6
DEFAULT_SECONDS: Final = 1.0


class Stopwatch:
    """Times stages that do not overlap, so that they sum to no more than the total.

    A stage may have several blocks. ``monotonic`` returns nanoseconds. Durations are whole
    microseconds, rounded down: rounded otherwise, short stages could sum to more than the total.
    """

    def __init__(self, monotonic: Callable[[], int]) -> None:
        self._monotonic = monotonic
        self._started = monotonic()
        self.stages: dict[str, timedelta] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as part of a stage."""
        started = self._monotonic()
        try:
            yield
        finally:
            spent = duration(self._monotonic() - started)
            self.stages[name] = self.stages.get(name, timedelta()) + spent

    @property
    def total(self) -> timedelta:
        """Return the time since the watch was made."""
        return duration(self._monotonic() - self._started)


def duration(nanoseconds: int) -> timedelta:
    """Return a length of time in whole microseconds, rounded down.

    >>> duration(1_999)
    datetime.timedelta(microseconds=1)
    """
    return timedelta(microseconds=nanoseconds // 1_000)


def share(remaining: float | None, part: float) -> float:
    """Return the seconds that one stage may take of what is left of the deadline.

    >>> share(0.5, 0.4)
    0.2
    """
    return (DEFAULT_SECONDS if remaining is None else max(remaining, 0.0)) * part
