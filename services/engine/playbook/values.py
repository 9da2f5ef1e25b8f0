"""Values of declared types: what arrives is checked once, at the edge."""

from __future__ import annotations

import math
from collections.abc import Mapping

from services.engine.playbook.schema import AttributeType

Value = str | int | float | bool

_LONGEST_STRING = 1_024
_EXACT = 2**53


def parse(declared: AttributeType, raw: object) -> Value:
    """Check a value of JSON's types against its declaration.

    Numbers may arrive as floats, as they do in ``google.protobuf.Value``: an integer must be whole
    and within 2**53, a decimal must have no more decimals than its scale.

    Raises:
        ValueError: the value is of another type, out of range or not declared.
    """
    if declared.type == "boolean":
        if not isinstance(raw, bool):
            raise ValueError(f"must be true or false, not {_kind(raw)}")
        return raw
    if declared.type in ("string", "enum"):
        return _word(declared, raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(f"must be a number, not {_kind(raw)}")
    if not math.isfinite(raw):
        raise ValueError("must be finite")
    if declared.type == "integer":
        if raw != int(raw) or abs(raw) > _EXACT:
            raise ValueError("must be a whole number within 2**53")
        return int(raw)
    if declared.type == "decimal":
        scale = 10 ** (declared.scale or 0)
        if abs(raw) * scale > _EXACT or round(raw * scale) / scale != raw:
            raise ValueError(f"must have at most {declared.scale} decimals and {_EXACT // scale} as its size")
    return float(raw)


def _word(declared: AttributeType, raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"must be a string, not {_kind(raw)}")
    if declared.values is not None and raw not in declared.values:
        raise ValueError(f"must be one of {', '.join(declared.values)}")
    if len(raw) > _LONGEST_STRING:
        raise ValueError(f"must have at most {_LONGEST_STRING} characters")
    return raw


def parse_weights(raw: object) -> Mapping[str, float]:
    """Check a mapping of words to finite, non-negative numbers.

    Raises:
        ValueError: it is no such mapping, or empty.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise ValueError("must map words to numbers")
    for word, weight in raw.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ValueError(f'the weight of "{word}" must be a number')
        if not math.isfinite(weight) or weight < 0:
            raise ValueError(f'the weight of "{word}" must be finite and not negative')
    return {word: float(weight) for word, weight in raw.items()}


def as_number(declared: AttributeType, value: Value) -> float:
    """Turn a parsed value into a feature's number: an enum is its place in the declared order."""
    if declared.values is not None:
        return float(declared.values.index(str(value)))
    return float(value)


def _kind(raw: object) -> str:
    if raw is None:
        return "null"
    return {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list"}.get(
        type(raw), "a mapping"
    )
