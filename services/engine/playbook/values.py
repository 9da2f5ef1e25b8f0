"""Values of declared types: what arrives is checked once, at the edge."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from services.engine.playbook.schema.attributes import AttributeType

Value = str | int | float | bool

_LONGEST_STRING = 1_024
_EXACT = 2**53
# Beyond, a float times its scale no longer rounds to the right unit.
_MOST_UNITS = 2**51
_HEAVIEST = 1e9


def parse(declared: AttributeType, raw: object) -> Value:
    """Check a value of JSON's types against its declaration.

    Numbers may arrive as floats, as they do in ``google.protobuf.Value``: an integer must be whole
    and within 2**53, a decimal must have no more decimals than its scale and 2**51 of its smallest
    units.

    Raises:
        ValueError: the value is of another type, out of range or not declared.
    """
    if declared.type == "boolean":
        if not isinstance(raw, bool):
            raise ValueError(f"must be true or false, not {_kind(raw)}")
        return raw
    if declared.type in ("string", "enum"):
        return _word(declared, raw)
    if declared.type == "timestamp":
        return _instant(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(f"must be a number, not {_kind(raw)}")
    if not abs(raw) <= sys.float_info.max:
        raise ValueError("must be finite")
    if declared.type == "integer":
        if raw != int(raw) or abs(raw) > _EXACT:
            raise ValueError("must be a whole number within 2**53")
        return int(raw)
    if declared.type == "decimal":
        scale = 10 ** (declared.scale or 0)
        if abs(raw) * scale > _MOST_UNITS:
            raise ValueError(f"must be no larger than {_MOST_UNITS // scale}")
        if round(raw * scale) / scale != raw:
            raise ValueError(f"must have at most {declared.scale} decimals")
    return float(raw)


def _word(declared: AttributeType, raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"must be a string, not {_kind(raw)}")
    if declared.values is not None and raw not in declared.values:
        raise ValueError(f"must be one of {', '.join(declared.values)}")
    if len(raw) > _LONGEST_STRING:
        raise ValueError(f"must have at most {_LONGEST_STRING} characters")
    if "\0" in raw:
        # CEL's binding would read the value only up to there.
        raise ValueError("must not contain a null character")
    return raw


def _instant(raw: object) -> str:
    """Return an instant in UTC, the same text for the same instant."""
    if not isinstance(raw, str):
        raise ValueError(f"must be a time such as 2026-03-01T10:00:00Z, not {_kind(raw)}")
    try:
        moment = datetime.fromisoformat(raw)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in raw or not 1970 <= moment.year < 2200:
        raise ValueError("must be a time with its offset, such as 2026-03-01T10:00:00Z, from 1970 to 2199")
    return moment.isoformat().replace("+00:00", "Z")


def native(declared: AttributeType, value: Value) -> Value | datetime:
    """Return a checked value as expressions take it: a timestamp as an aware datetime."""
    if declared.type == "timestamp":
        return datetime.fromisoformat(str(value))
    return value


def parse_weights(raw: object) -> Mapping[str, float]:
    """Check a mapping of words to numbers from 0 to 1e9, so that amounts weighed by them stay finite.

    Raises:
        ValueError: it is no such mapping, or empty.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise ValueError("must map words to numbers")
    for word, weight in raw.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ValueError(f'the weight of "{word}" must be a number')
        if not 0 <= weight <= _HEAVIEST:
            raise ValueError(f'the weight of "{word}" must lie from 0 to 1,000,000,000')
    return {word: float(weight) for word, weight in raw.items()}


def as_number(declared: AttributeType, value: Value) -> float:
    """Turn a value into a feature's number: an enum is its place in the declared order.

    A word that is not declared, recorded under an older declaration, is NaN: missing rather than
    misread.
    """
    if declared.values is not None:
        return float(declared.values.index(value)) if value in declared.values else math.nan
    return math.nan if isinstance(value, str) else float(value)


def _kind(raw: object) -> str:
    if raw is None:
        return "null"
    return {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list"}.get(
        type(raw), "a mapping"
    )
