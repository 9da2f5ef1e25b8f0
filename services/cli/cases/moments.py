"""Times as cases say them: an instant, or how far before or after the decision."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator

from services.engine.playbook.kinds import parse_window
from services.engine.playbook.schema.attributes import AttributeType
from services.engine.playbook.values import Value, parse

JUST_NOW: Final = timedelta(seconds=-1)
"""What is known at a moment became known before it."""


def parse_when(raw: object) -> datetime | timedelta:
    """Read ``now``, ``27d ago``, ``in 2d``, several lengths as in ``1d 2h ago``, or an instant.

    Raises:
        ValueError: it is none of these.

    >>> parse_when("1d 2h ago") == -timedelta(days=1, hours=2)
    True
    """
    if isinstance(raw, datetime | timedelta):
        return raw
    if not isinstance(raw, str):
        raise ValueError(f"{raw!r} is no time such as 27d ago, in 2h or 2026-03-02T10:00:00+01:00")
    if raw == "now":
        return timedelta()
    if raw.endswith(" ago"):
        return -_length(raw.removesuffix(" ago"))
    if raw.startswith("in "):
        return _length(raw.removeprefix("in "))
    return parse_instant(raw)


def parse_instant(raw: object) -> datetime:
    """Read an instant with its offset.

    Raises:
        ValueError: it is none.
    """
    if isinstance(raw, datetime):
        return raw
    try:
        moment = datetime.fromisoformat(str(raw))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not 2000 <= moment.year < 2100:
        raise ValueError(
            f"{raw!r} is no time with its offset, such as 2026-03-02T10:00:00+01:00, from 2000 to 2099"
        )
    return moment


def moment_of(when: datetime | timedelta, now: datetime) -> datetime:
    """Return the instant that is meant by a decision at ``now``."""
    return now + when if isinstance(when, timedelta) else when


def value_at(declared: AttributeType, raw: object, now: datetime) -> Value:
    """Check a value against its declaration; a timestamp may be written as ``parse_when`` reads it.

    Raises:
        ValueError: the value is of another type or out of range.
    """
    if declared.type == "timestamp":
        raw = moment_of(parse_when(raw), now).isoformat()
    return parse(declared, raw)


def _length(text: str) -> timedelta:
    total = timedelta()
    for part in text.split(" "):
        length = parse_window(part)
        total += length if isinstance(length, timedelta) else timedelta()
    return total


When = Annotated[datetime | timedelta, BeforeValidator(parse_when)]
Instant = Annotated[datetime, BeforeValidator(parse_instant)]
