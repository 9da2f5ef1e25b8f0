"""Takes conditions apart as far as they compare a variable with values, and finds what cannot be.

It never calls impossible what is not. Whatever is no such comparison, a sum or a function for one, may come
to anything.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Final

from services.engine.playbook.expressions import KNOWN, STRING_OR_COMMENT

State = str | int | float | bool | datetime | None
"""What a variable is in one decision; None where it is missing."""

OF_TREATMENT: Final = ("action.", "treatment.")
"""How the variables begin that are the same for all customers."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that another one is compared with."""

    name: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variable, and what it is compared with; the sign ``known`` asks whether it has a value."""

    name: str
    sign: str
    other: State | tuple[State, ...] | Variable = None


Demand = tuple[Comparison, bool]
"""A comparison that has to be true, or has to be false."""
Way = frozenset[Demand]
"""What has to hold together; nothing where anything will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The ways in which a condition comes true and false; none where it never does.

    ``unread`` are the parts that may come to anything, as they are written.
    """

    true: tuple[Way, ...]
    false: tuple[Way, ...]
    unread: tuple[str, ...] = ()


_ANYHOW: Final = (frozenset[Demand](),)
_STRING = r"'[^'\\\n]*'|\"[^\"\\\n]*\""
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![\w.])"
_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_OPERAND = f"{_STRING}|{_NUMBER}|{_NAME}"
_LITERAL = re.compile(f"{_STRING}|{_NUMBER}")
_WORD = re.compile(_NAME)
_COMPARISON = re.compile(rf"({_OPERAND})\s*(==|!=|<=|>=|<|>)\s*({_OPERAND})")
_MEMBERSHIP = re.compile(
    rf"({_NAME})\s+in\s*\[\s*((?:(?:{_STRING}|{_NUMBER})\s*,\s*)*(?:{_STRING}|{_NUMBER}))\s*\]"
)
_SIGN = re.compile(r"&&|\|\||[?:()\[\]{}]")
_HOLDS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, values: value in values,
}
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_KINDS: Final[Mapping[str, type]] = {"INT": int, "DOUBLE": float, "STRING": str, "BOOL": bool}
_MOST_WAYS: Final = 64
_INT_64: Final = range(-(2**63), 2**63)


class _Tangled(Exception):
    """There are too many ways to look at each."""


def read(text: str, types: Mapping[str, Any]) -> Condition:
    """Take a checked expression apart; ``types`` are those of the variables."""
    plain = STRING_OR_COMMENT.sub(lambda found: " " if found["comment"] else found[0], text)
    try:
        return _read(plain, types)
    except _Tangled:
        return _unread(text)


def resolved(way: Way, fixed: Mapping[str, State]) -> Way | None:
    """Put in the variables of a treatment; None where they make the way impossible."""
    left: set[Demand] = set()
    for comparison, wanted in way:
        name, other = comparison.name, comparison.other
        if isinstance(other, Variable):
            if (other := fixed.get(other.name)) is None:
                return None
            comparison = Comparison(name, comparison.sign, other)
        if not name.startswith(OF_TREATMENT):
            left.add((comparison, wanted))
        elif not holds((comparison, wanted), fixed.get(name)):
            return None
    return frozenset(left)


def holds(demand: Demand, state: State) -> bool:
    """Tell whether a demand is met by a variable in that state."""
    comparison, wanted = demand
    if comparison.sign == "known":
        return (state is not None) is wanted
    return state is not None and _HOLDS[comparison.sign](state, comparison.other) is wanted


def example(
    way: Way, types: Mapping[str, Any], domains: Mapping[str, Sequence[State]]
) -> Mapping[str, State] | None:
    """Return states of the variables in which a resolved way is met, or None where there are none.

    ``domains`` are all states of those variables that have few.
    """
    demands: dict[str, list[Demand]] = {}
    for demand in way:
        demands.setdefault(demand[0].name, []).append(demand)
    found: dict[str, State] = {}
    for name, wanted in demands.items():
        others = [comparison.other for comparison, _ in wanted]
        states = domains.get(name) or _states(_kind(name, types), others)
        try:
            found[name] = next(state for state in states if all(holds(one, state) for one in wanted))
        except StopIteration:
            return None
    return found


def _states(kind: type | None, others: Iterable[Any]) -> Iterable[State]:
    """Return a state on every side of what a variable is compared with: more would make no difference."""
    values = [each for other in others for each in (other if isinstance(other, tuple) else (other,))]
    constants = [value for value in values if value is not None]
    if kind is bool:
        return None, True, False
    if kind is int:
        near = (constant + step for constant in (constants or [0]) for step in (-1, 0, 1))
        return None, *(number for number in near if number in _INT_64)
    if kind is float:
        sides = (math.nextafter(constant, side) for constant in constants for side in (-math.inf, math.inf))
        return None, 0.0, *constants, *filter(math.isfinite, sides)
    if kind is str:
        return None, "".join(constants) + "x", *constants
    return None, datetime(2000, 1, 1, tzinfo=UTC)


def _read(text: str, types: Mapping[str, Any]) -> Condition:
    text = text.strip()
    signs = list(_signs(text))
    if any(sign == "?" for _, sign in signs):
        parts = _chosen(text, signs)
        return _choice(*(_read(part, types) for part in parts)) if parts else _unread(text)
    for sign, join in (("||", _either), ("&&", _both)):
        if len(pieces := _split(text, sign, signs)) > 1:
            return reduce(join, (_read(piece, types) for piece in pieces))
    if _is_negation(text):
        inner = _read(text[1:], types)
        return Condition(true=inner.false, false=inner.true, unread=inner.unread)
    if _is_enclosed(text):
        return _read(text[1:-1], types)
    return _comparison(text, types) or _unread(text)


def _signs(text: str) -> Iterator[tuple[int, str]]:
    """Yield the signs outside of strings and brackets, and the brackets themselves."""
    depth = 0
    for found in _SIGN.finditer(STRING_OR_COMMENT.sub(lambda string: "'" * len(string[0]), text)):
        depth -= found[0] in ")]}"
        if depth == 0:
            yield found.start(), found[0]
        depth += found[0] in "([{"


def _split(text: str, sign: str, signs: Iterable[tuple[int, str]]) -> list[str]:
    starts = [0, *(at + len(sign) for at, found in signs if found == sign)]
    ends = [*(start - len(sign) for start in starts[1:]), len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def _chosen(text: str, signs: Iterable[tuple[int, str]]) -> tuple[str, str, str] | None:
    """Take ``condition ? yes : no`` apart, where ``yes`` may be of the same form."""
    marks = [(at, sign) for at, sign in signs if sign in "?:"]
    first, depth = marks[0][0], 0
    for at, sign in marks:
        depth += 1 if sign == "?" else -1
        if depth == 0:
            return text[:first], text[first + 1 : at], text[at + 1 :]
    return None


def _is_negation(text: str) -> bool:
    """Tell whether a leading ``!`` is about all of a text, and not about the left of an operator."""
    inner = text.lstrip("! \t\n")
    return text.startswith("!") and bool(_WORD.fullmatch(inner) or _is_enclosed(inner))


def _is_enclosed(text: str) -> bool:
    return text.startswith("(") and [sign for _, sign in _signs(text)] == ["(", ")"] and text.endswith(")")


def _comparison(text: str, types: Mapping[str, Any]) -> Condition | None:
    if text in ("true", "false"):
        return _always(text == "true")
    if _WORD.fullmatch(text):
        return _bare(text, types)
    if found := _MEMBERSHIP.fullmatch(text):
        values = tuple(_literal(item) for item in _LITERAL.findall(found[2]))
        return _compared(found[1], "in", values, types)
    if found := _COMPARISON.fullmatch(text):
        left, sign, right = found.groups()
        # Variables of the customer stand left, what they are compared with right.
        if left not in types or (_is_of_treatment(left) and right in types and not _is_of_treatment(right)):
            left, sign, right = right, _MIRRORED.get(sign, sign), left
        return _compared(left, sign, _operand(right, types), types)
    return None


def _bare(name: str, types: Mapping[str, Any]) -> Condition | None:
    if name.startswith(KNOWN) and (asked := name.removeprefix(KNOWN)) in types:
        return _demanded(Comparison(asked, "known"))
    return _demanded(Comparison(name, "==", True)) if _kind(name, types) is bool else None


def _compared(name: str, sign: str, other: Any, types: Mapping[str, Any]) -> Condition | None:
    """Return what a comparison demands, None where it is of a kind that is not looked into."""
    kind = _kind(name, types)
    if kind is None or (sign in _MIRRORED and kind not in (int, float)):
        return None
    if isinstance(other, Variable):
        fits = _kind(other.name, types) is kind and (_is_of_treatment(name) or _is_of_treatment(other.name))
    else:
        fits = all(type(value) is kind for value in (other if sign == "in" else (other,)))
    return _demanded(Comparison(name, sign, other)) if fits else None


def _kind(name: str, types: Mapping[str, Any]) -> type | None:
    return _KINDS.get(types[name].name()) if name in types else None


def _is_of_treatment(operand: str) -> bool:
    return operand.startswith(OF_TREATMENT)


def _operand(text: str, types: Mapping[str, Any]) -> State | Variable:
    if text in ("true", "false"):
        return text == "true"
    if text in types:
        return Variable(text)
    return _literal(text) if _LITERAL.fullmatch(text) else None


def _literal(text: str) -> str | int | float | None:
    if text[0] in "'\"":
        return text[1:-1]
    if text.lstrip("-").isdigit():
        return int(text)
    return number if math.isfinite(number := float(text)) else None


def _demanded(comparison: Comparison) -> Condition:
    return Condition(true=(frozenset({(comparison, True)}),), false=(frozenset({(comparison, False)}),))


def _always(value: bool) -> Condition:
    return Condition(true=_ANYHOW if value else (), false=() if value else _ANYHOW)


def _unread(text: str) -> Condition:
    return Condition(true=_ANYHOW, false=_ANYHOW, unread=(" ".join(text.split()),))


def _both(one: Condition, other: Condition) -> Condition:
    # CEL absorbs: a false part decides, whatever the other is.
    return Condition(
        true=_together(one.true, other.true),
        false=_few(one.false + other.false),
        unread=one.unread + other.unread,
    )


def _either(one: Condition, other: Condition) -> Condition:
    return Condition(
        true=_few(one.true + other.true),
        false=_together(one.false, other.false),
        unread=one.unread + other.unread,
    )


def _choice(condition: Condition, yes: Condition, no: Condition) -> Condition:
    return Condition(
        true=_few(_together(condition.true, yes.true) + _together(condition.false, no.true)),
        false=_few(_together(condition.true, yes.false) + _together(condition.false, no.false)),
        unread=condition.unread + yes.unread + no.unread,
    )


def _together(ones: Sequence[Way], others: Sequence[Way]) -> tuple[Way, ...]:
    return _few([one | other for one in ones for other in others])


def _few(ways: Iterable[Way]) -> tuple[Way, ...]:
    distinct = tuple(dict.fromkeys(ways))
    if len(distinct) > _MOST_WAYS:
        raise _Tangled
    return distinct
