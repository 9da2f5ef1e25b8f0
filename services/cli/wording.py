"""Numbers, times and names as people read them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from datetime import UTC, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from tact.decision.v1 import decision_service_pb2 as pb

_MICROS: Final = 1e6
_EXACT: Final = 2.0**53
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def number(amount: float) -> str:
    """Write whole numbers as such, others with six digits.

    >>> number(7654321.0), number(1 / 3), number(-0.0)
    ('7654321', '0.333333', '0')
    """
    return str(int(amount)) if abs(amount) < _EXACT and amount == int(amount) else f"{amount:.6g}"


def money(amount: pb.Money) -> str:
    """Write an amount with its currency.

    >>> money(pb.Money(micros=1234500000, currency="EUR"))
    '1,234.50 EUR'
    """
    return f"{amount.micros / _MICROS:,.2f} {amount.currency}"


def effect(factor: pb.FactorTrace) -> str:
    """Write what a factor did to a worth.

    >>> effect(pb.FactorTrace(kind="weight", factor=3))
    'x 3'
    >>> effect(pb.FactorTrace(kind="repeat_cost", factor=-1.5))
    '- 1.5'
    """
    if factor.kind not in ("measure", "repeat_cost"):
        return f"x {number(factor.factor)}"
    return f"{'-' if factor.factor < 0 else '+'} {number(abs(factor.factor))}"


def value(found: Value) -> str:
    """Write a value of JSON."""
    match found.WhichOneof("kind"):
        case "number_value":
            return number(found.number_value)
        case "bool_value":
            return "true" if found.bool_value else "false"
        case _:
            return found.string_value


def moment(timestamp: Timestamp, here: ZoneInfo) -> str:
    """Write a time as clocks of a zone show it.

    >>> moment(Timestamp(seconds=1_700_000_000), ZoneInfo("UTC"))
    '2023-11-14 22:13:20 UTC'
    """
    return f"{timestamp.ToDatetime(UTC).astimezone(here):%Y-%m-%d %H:%M:%S} {here.key}"


def age(length: Duration) -> str:
    """Write a length of time in its largest unit, rounded down.

    >>> age(Duration(seconds=7_199)), age(Duration())
    ('1 hour', '0 seconds')
    """
    seconds = length.ToTimedelta() // timedelta(seconds=1)
    size, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    count = seconds // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def word(enum: EnumDescriptor, number: int, prefix: str) -> str:
    """Write the name of an enum value; a newer gateway's may have none here.

    >>> levels = pb.ServedBy.DESCRIPTOR
    >>> word(levels, pb.SERVED_BY_LAST_GOOD_FEATURES, "SERVED_BY_"), word(levels, 99, "SERVED_BY_")
    ('last good features', '99')
    """
    found = enum.values_by_number.get(number)
    return str(number) if found is None else found.name.removeprefix(prefix).lower().replace("_", " ")


def listed(before: str, words: Iterable[str], after: str = "") -> str:
    """Write words that are not empty, with something around them; nothing where there are none.

    >>> listed(" (", ["from crm", ""], ")"), listed(" (", [], ")")
    (' (from crm)', '')
    """
    found = ", ".join(filter(None, words))
    return f"{before}{found}{after}" if found else ""


def wrapped(line: str, width: int) -> str:
    """Break a line at spaces, what follows further in.

    >>> wrapped("  one two three", 12)
    '  one two\\n    three'
    """
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
