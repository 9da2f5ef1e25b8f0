"""Words, amounts, days and hours, as they are written in a playbook."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from services.engine.instants import time_zone
from services.engine.playbook.errors import did_you_mean
from services.engine.playbook.kinds import Number, parse_window

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_CALENDAR: Final = ("day", "week", "month")


def _identifier(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError(
            "must be 1 to 64 letters, digits, dots, dashes or underscores, and begin with no sign"
        )
    return text


def _zone(name: str) -> str:
    if time_zone(name) is None:
        raise ValueError(f'"{name}" is no IANA time zone' + did_you_mean(name, available_timezones()))
    return name


def _currency(text: str) -> str:
    if not _CURRENCY.fullmatch(text):
        raise ValueError(f'"{text}" is no currency of three capital letters such as EUR')
    return text


def _micros(value: object) -> object:
    """Turn an amount in currency units into whole micro-units."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        micros = Decimal(str(value)) * 1_000_000
    except ArithmeticError:
        raise ValueError(f'"{value}" is no amount') from None
    if not micros.is_finite() or abs(micros) > 10**15:
        raise ValueError("an amount lies between -1,000,000,000 and 1,000,000,000")
    if micros != micros.to_integral_value():
        raise ValueError("an amount has at most six decimals")
    return int(micros)


def _day(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        day = date.fromisoformat(value)
    except ValueError:
        day = None
    if day is None or day.isoformat() != value:
        raise ValueError(f'"{value}" is no date such as 2025-12-31')
    if not 1970 <= day.year <= 9998:
        raise ValueError("a date lies in the years 1970 to 9998")
    return day


def _clock(value: object) -> object:
    if isinstance(value, str) and (match := _CLOCK.fullmatch(value)):
        return int(match[1]) * 60 + int(match[2])
    # 9 is not taken for a minute, and not guessed to be an hour.
    raise ValueError(f'{value!r} is no time of day from "00:00" to "23:59", in quotes')


def _within(value: object) -> object:
    if value == "validity":
        return value
    try:
        return parse_window(value)
    except ValueError as error:
        suggestion = did_you_mean(str(value), ["validity"])
        raise ValueError(f"{error}, nor validity{suggestion}") from None


def _period(value: object) -> object:
    if value in _CALENDAR:
        return value
    try:
        return parse_window(value)
    except ValueError as error:
        raise ValueError(f"{error}, nor day, week or month{did_you_mean(str(value), _CALENDAR)}") from None


def at_most(days: int) -> AfterValidator:
    """Refuse a length of time of more than so many days."""

    def check(length: object) -> object:
        if isinstance(length, timedelta) and length > timedelta(days=days):
            raise ValueError(f"must be at most {days}d")
        return length

    return AfterValidator(check)


def _text(pattern: str, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "description": description})


Identifier = Annotated[
    str,
    AfterValidator(_identifier),
    _text(_ID.pattern, "1 to 64 letters, digits, dots, dashes or underscores."),
]
Micros = Annotated[
    int,
    BeforeValidator(_micros),
    WithJsonSchema(
        {
            "type": ["number", "string"],
            "pattern": r"^-?[0-9]+(\.[0-9]{1,6})?$",
            "minimum": -1_000_000_000,
            "maximum": 1_000_000_000,
            "description": "An amount in the playbook's currency, with at most six decimals.",
        }
    ),
]
Currency = Annotated[
    str, AfterValidator(_currency), _text(_CURRENCY.pattern, "Three capital letters such as EUR.")
]
TimeZone = Annotated[
    str, AfterValidator(_zone), _text("[A-Za-z0-9_+/-]+", "An IANA time zone such as Europe/Berlin.")
]
Day = Annotated[
    date, BeforeValidator(_day), _text("[0-9]{4}-[0-9]{2}-[0-9]{2}", "A date such as 2025-12-31.")
]
Clock = Annotated[
    int,
    BeforeValidator(_clock),
    _text(_CLOCK.pattern, 'A time of day from "00:00" to "23:59", in quotes.'),
]
"""A time of day, in minutes since midnight."""
Within = Annotated[
    timedelta | Literal["validity"],
    BeforeValidator(_within),
    _text("([1-9][0-9]{0,5}[dhms]|validity)", "A length of time such as 14d, or validity."),
]
Calendar = Literal["day", "week", "month"]
Period = Annotated[
    timedelta | Calendar,
    BeforeValidator(_period),
    at_most(400),
    _text("([1-9][0-9]{0,5}[dhms]|day|week|month)", "A length of time such as 7d, or day, week or month."),
]
Sentence = Annotated[str, Field(min_length=1, max_length=400)]
Probability = Annotated[Number, Field(ge=0.0, le=1.0)]
Factor = Annotated[Number, Field(ge=0.0, le=1_000_000.0)]
