"""Where windows of time begin: lengths that end now, and days, weeks and months of local calendars."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from services.engine.instants import midnight
from services.engine.playbook.schema.scalars import Calendar

_LONGEST: Final = {"day": timedelta(days=2), "week": timedelta(days=8), "month": timedelta(days=32)}


def start_of(window: timedelta | Calendar, now: datetime, zones: tuple[ZoneInfo, ...]) -> datetime:
    """Return the first moment of a window that ``now``, in UTC, is in; it belongs to the window.

    A length reaches back from now. A day, a week, from Monday on, or a month begins at local midnight:
    at the earliest in any of the zones, at the first of two, and at the first moment of the day
    where a clock change skips midnight.
    """
    if isinstance(window, timedelta):
        return now - window
    return min(_midnight(_first_day(window, now.astimezone(zone).date()), zone) for zone in zones)


def longest(window: timedelta | Calendar) -> timedelta:
    """Return a length that the window never exceeds, whatever clocks do."""
    return window if isinstance(window, timedelta) else _LONGEST[window]


def _first_day(period: Calendar, day: date) -> date:
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


_midnight = lru_cache(maxsize=1_024)(midnight)
