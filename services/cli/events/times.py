"""Times as files write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from services.engine.instants import microseconds

_MICROS: Final = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
_COUNT = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?")
# Python takes a mere row of digits for a date as well.
_WRITTEN_OUT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Reads times; ``unit`` is what numbers count since 1970, ``zone`` is for those without an offset.

    Of a local time that comes twice the first is meant. What is finer than a microsecond is cut off.
    """

    unit: str | None = None
    zone: ZoneInfo | None = None

    def read(self, cell: object) -> int:
        """Return an event time in microseconds since 1970.

        Raises:
            ValueError: it is no time, or nothing tells its unit or zone; the message says what to do.
        """
        if isinstance(cell, datetime | date):
            return self.instant(cell)
        text = str(cell) if isinstance(cell, str | int | float | Decimal) else ""
        is_count = _COUNT.fullmatch(text) is not None
        if self.unit is None:
            if is_count or not isinstance(cell, str):
                raise ValueError("is a number: say --time-unit" if is_count else "is no time")
            return self.instant(cell)
        if not is_count:
            raise ValueError(f"is no number of {self.unit}")
        return int(Decimal(text) * _MICROS[self.unit])

    def instant(self, cell: str | date) -> int:
        """Return the microseconds since 1970 of a time that is written out, or of a day's first moment.

        Raises:
            ValueError: it is no time, or has no offset and no zone is known.
        """
        try:
            moment = _parse(cell)
            if moment.tzinfo is None:
                moment = self._local(moment)
            return microseconds(moment)
        except OverflowError:
            raise ValueError("lies out of all calendars") from None

    def _local(self, moment: datetime) -> datetime:
        if self.zone is None:
            raise ValueError("has no offset: say --time-zone")
        local = moment.replace(tzinfo=self.zone)
        if local.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) != moment:
            raise ValueError(f"does not exist in {self.zone.key}, where clocks skipped it")
        return local


def _parse(cell: str | date) -> datetime:
    if isinstance(cell, datetime):
        return cell
    if isinstance(cell, date):
        return datetime.combine(cell, time())
    try:
        if _WRITTEN_OUT.match(cell):
            return datetime.fromisoformat(cell)
    except ValueError:
        pass
    raise ValueError("is no time such as 2026-03-01T10:00:00Z")
