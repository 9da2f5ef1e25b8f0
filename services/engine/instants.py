"""Instants as they are kept and sent: whole microseconds since 1970, in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ZONE_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def microseconds(moment: datetime) -> int:
    """Count the microseconds since 1970, exactly.

    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (moment - EPOCH) // _MICROSECOND


def instant(count: int) -> datetime:
    """Return the instant of a count of microseconds.

    >>> instant(1_000_000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    return EPOCH + timedelta(microseconds=count)


def time_zone(name: str) -> ZoneInfo | None:
    """Return the IANA time zone of that name, None where there is none.

    >>> time_zone("Europe/Nowhere") is None
    True
    """
    try:
        return zone(name)
    except ValueError:
        return None


@lru_cache(maxsize=1_024)
def zone(name: str) -> ZoneInfo:
    """Return the IANA time zone of that name, by the pinned ``tzdata``, whatever the host has.

    Raises:
        ValueError: there is no such zone.
    """
    if not _ZONE_NAME.fullmatch(name):
        raise ValueError(f'"{name}" is no name of a time zone')
    try:
        with files("tzdata").joinpath("zoneinfo", name).open("rb") as data:
            return ZoneInfo.from_file(data, key=name)
    except OSError as error:
        raise ValueError(f'"{name}" is no IANA time zone') from error


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the first moment of a local day, in UTC.

    Of two midnights it is the first; where a clock change skips midnight, the moment of that change.
    """
    return datetime.combine(day, time(), zone).astimezone(UTC)


def local_time(moments: Iterable[datetime]) -> dict[str, int]:
    """Return the ``hour`` (0 to 23) and ``weekday`` (Monday is 1) that local moments have in common.

    What they do not agree on is left out, as where a country has several zones.

    >>> local_time([datetime(2026, 3, 2, 9, 30)])
    {'hour': 9, 'weekday': 1}
    """
    hours, weekdays = zip(*((moment.hour, moment.isoweekday()) for moment in moments), strict=True)
    found = {"hour": set(hours), "weekday": set(weekdays)}
    return {name: values.pop() for name, values in found.items() if len(values) == 1}
