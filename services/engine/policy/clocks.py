"""Hours of the day as sets of minutes, and when local clocks next show one of them.

A set is an integer of 1,440 bits, one for each minute since midnight. A minute of time is counted
from 1970 in UTC. Clocks change on whole minutes and differ from UTC by whole minutes since 1972.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from functools import lru_cache, reduce
from operator import and_, or_
from typing import Final
from zoneinfo import ZoneInfo

from services.engine.instants import EPOCH
from services.engine.playbook.schema.head import Hours

DAY: Final = 24 * 60
ALL: Final = (1 << DAY) - 1
HORIZON: Final = timedelta(days=8)
_MINUTE: Final = timedelta(minutes=1)


def minutes_of(hours: Hours) -> int:
    """Return the set of minutes from the start to before the end, which may lie after midnight."""
    between = (1 << hours.end) - (1 << hours.start)
    return between if hours.start < hours.end else ALL + between


def minute_of(at: datetime) -> int:
    """Count the whole minutes since 1970."""
    return (at - EPOCH) // _MINUTE


def instant_of(minute: int) -> datetime:
    """Return when a minute begins."""
    return EPOCH + minute * _MINUTE


def first(minutes: int, zones: tuple[ZoneInfo, ...], minute: int, *, anywhere: bool = False) -> int | None:
    """Return the first minute, from ``minute`` on, when all local clocks show one of ``minutes``.

    ``anywhere``: when any of them does. What a clock change skips is never shown; what it repeats is
    shown twice. Returns None where there is no such minute within 8 days.
    """
    last = minute + HORIZON // _MINUTE
    while minute < last:
        offsets = _offsets(zones, minute)
        turned = (_turned(minutes, minute + offset) for offset in set(offsets))
        ahead = reduce(or_ if anywhere else and_, turned)
        then = minute + (_lowest(ahead) if ahead else DAY)
        if _offsets(zones, then) != offsets:
            minute = _change(zones, minute, then)
        elif ahead:
            return then
        else:
            minute = then
    return None


def next_start(minutes: int, zones: tuple[ZoneInfo, ...], minute: int) -> int | None:
    """Return the first minute after ``minute`` when clocks that did not all show ``minutes`` begin to."""
    outside = first(ALL ^ minutes, zones, minute, anywhere=True)
    return None if outside is None else first(minutes, zones, outside)


@lru_cache(maxsize=1_024)
def shown(zones: tuple[ZoneInfo, ...], minute: int) -> int:
    """Return the set of minutes that the local clocks show, one or several."""
    return reduce(or_, (1 << (minute + offset) % DAY for offset in _offsets(zones, minute)))


@lru_cache(maxsize=1_024)
def _offsets(zones: tuple[ZoneInfo, ...], minute: int) -> tuple[int, ...]:
    """Return how many minutes each zone is ahead of UTC."""
    at = instant_of(minute)
    return tuple((at.astimezone(zone).replace(tzinfo=UTC) - at) // _MINUTE for zone in zones)


def _change(zones: tuple[ZoneInfo, ...], minute: int, then: int) -> int:
    """Return the first minute of other offsets, of at most a day; no zone changes twice in one."""
    before, span = _offsets(zones, minute), range(minute, then)
    return minute + bisect_left(span, True, key=lambda each: _offsets(zones, each) != before)


def _turned(minutes: int, by: int) -> int:
    """Turn the day so that minute ``by`` comes first."""
    by %= DAY
    return (minutes >> by | minutes << DAY - by) & ALL


def _lowest(minutes: int) -> int:
    return (minutes & -minutes).bit_length() - 1
