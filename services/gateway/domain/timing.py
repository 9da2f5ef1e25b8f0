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

    ``monotonic`` returns seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._started = monotonic()
        self.stages: dict[str, timedelta] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as one stage."""
        started = self._monotonic()
        try:
            yield
        finally:
            self.stages[name] = timedelta(seconds=self._monotonic() - started)

    @property
    def total(self) -> timedelta:
        """Return the time since the watch was made."""
        return timedelta(seconds=self._monotonic() - self._started)


def share(remaining: float | None, part: float) -> float:
    """Return the seconds that one stage may take of what is left of the deadline.

    >>> share(0.5, 0.4)
    0.2
    """
    return (DEFAULT_SECONDS if remaining is None else max(remaining, 0.0)) * part
