"""Moments as callers send them, before they are checked and become microseconds since 1970."""

from __future__ import annotations

from typing import Final, NamedTuple

MOST_AHEAD: Final = 300_000_000
"""Five minutes: how far a caller's clock may run ahead."""
LATEST: Final = 4_102_444_800_000_000
"""The year 2100."""

_END_OF_TIME: Final = 253_402_300_800
_BILLION: Final = 1_000_000_000


class Moment(NamedTuple):
    """Seconds and nanoseconds since 1970, unchecked."""

    seconds: int
    nanos: int


def exact(moment: Moment) -> int:
    """Return a moment in microseconds.

    Raises:
        ValueError: it is finer than a microsecond, before 1970 or after the year 9999.
    """
    micros = _micros(moment)
    if moment.nanos % 1_000:
        raise ValueError("must be in whole microseconds")
    return micros


def past(moment: Moment, now: int) -> int:
    """Return when something happened or became known, in microseconds.

    Raises:
        ValueError: it is finer than a microsecond, before 1970 or more than five minutes after
            ``now``.
    """
    micros = exact(moment)
    if micros > now + MOST_AHEAD:
        raise ValueError("must lie at most five minutes ahead")
    return micros


def as_of(moment: Moment) -> int:
    """Return the time that a read is as of, in microseconds; what is finer is cut off.

    Raises:
        ValueError: it lies before 1970 or after 2100.
    """
    micros = _micros(moment)
    if micros > LATEST:
        raise ValueError("must not lie after 2100")
    return micros


def _micros(moment: Moment) -> int:
    if not 0 <= moment.nanos < _BILLION:
        raise ValueError("must have nanos from 0 to 999,999,999")
    if moment.seconds < 0:
        raise ValueError("must not lie before 1970")
    if moment.seconds >= _END_OF_TIME:
        raise ValueError("must not lie after the year 9999")
    return moment.seconds * 1_000_000 + moment.nanos // 1_000
