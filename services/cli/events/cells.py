"""What a cell says, as a value of the type that the playbook declares."""

from __future__ import annotations

import math
import re
from datetime import date
from decimal import Decimal
from typing import Final

from services.cli.events.times import Times
from services.engine.instants import instant
from services.engine.playbook.schema.attributes import AttributeType

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_LONGEST_NUMBER: Final = 400
_TEXTS: Final = ("string", "enum")
_BOOLEANS: Final[dict[str, bool]] = {"true": True, "false": False, "1": True, "0": False}


def is_empty(cell: object) -> bool:
    """Tell whether a cell holds nothing; an empty text is nothing, as CSV cannot tell them apart."""
    return cell is None or cell in ("", b"")


def is_empty_text(cell: object) -> bool:
    """Tell whether a cell that is to be text holds nothing; what is not a number is nothing there."""
    return is_empty(cell) or (isinstance(cell, float) and math.isnan(cell))


def is_empty_value(declared: AttributeType | None, cell: object) -> bool:
    """Tell whether a cell holds no value of a type; None where the event has no such attribute."""
    is_text = declared is not None and declared.type in _TEXTS
    return is_empty_text(cell) if is_text else is_empty(cell)


def read_text(cell: object) -> str:
    """Return what a cell says as text: an id, a type.

    Raises:
        ValueError: it is no text and no number.
    """
    if isinstance(cell, bytes):
        try:
            return cell.decode()
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8") from None
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        return str(cell)
    raise ValueError("must be text or a number")


def read_value(declared: AttributeType, cell: object, times: Times) -> object:
    """Return a cell as JSON would hold it; what it cannot be turned into stays as it is.

    Raises:
        ValueError: it is no value of that type.
    """
    if isinstance(cell, bytes):
        cell = read_text(cell)
    if declared.type == "boolean":
        return _boolean(cell)
    if declared.type in _TEXTS:
        return str(cell) if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool) else cell
    if declared.type == "timestamp":
        return instant(times.instant(cell)).isoformat() if isinstance(cell, str | date) else cell
    return _number(cell)


def _boolean(cell: object) -> object:
    text = str(cell).lower() if isinstance(cell, str | int) else ""
    if text not in _BOOLEANS:
        raise ValueError("must be true or false")
    return _BOOLEANS[text]


def _number(cell: object) -> object:
    if isinstance(cell, Decimal):
        cell = str(cell)
    if not isinstance(cell, str):
        return cell
    if len(cell) > _LONGEST_NUMBER:
        raise ValueError(f"must be a number of at most {_LONGEST_NUMBER} characters")
    if not _NUMBER.fullmatch(cell):
        raise ValueError("must be a number")
    return int(cell) if _WHOLE.fullmatch(cell) else float(cell)
