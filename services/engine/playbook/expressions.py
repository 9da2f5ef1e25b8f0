"""CEL expressions over declared, typed, dotted names.

Google's own binding checks names and types when it compiles. What this module adds: the line and
the nearest right name, the variables that an expression reads, and the refusal of what is wrong
(``has()`` on dotted names) or unbounded (comprehension macros).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cel_expr_python import cel

from services.engine.playbook.errors import did_you_mean

BOOL: Final = cel.Type.BOOL
INT: Final = cel.Type.INT
DOUBLE: Final = cel.Type.DOUBLE
STRING: Final = cel.Type.STRING
TIMESTAMP: Final = cel.Type.TIMESTAMP

STRING_OR_COMMENT = re.compile(
    r"""(?P<comment>//[^\n]*)
    |[bB]?[rR]("{3}.*?"{3}|'{3}.*?'{3}|"[^"]*"|'[^']*')
    |[bB]?("{3}(\\.|[^\\])*?"{3}|'{3}(\\.|[^\\])*?'{3}|"(\\.|[^"\\])*"|'(\\.|[^'\\])*')""",
    re.DOTALL | re.VERBOSE,
)
_PATH = re.compile(r"(?<!\w)[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*")
# To CEL, `(feature).orders`, `.feature.orders` and feature.`orders` are one name.
_AROUND_NAMES = str.maketrans("()`", "   ")
_MACRO = re.compile(r"\.\s*(all|exists|exists_one|map|filter)\s*\(")
_HAS = re.compile(r"(?<![\w.])has\s*\(")
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
_FIRST_ERROR = re.compile(r"(?:ERROR: <input>:-?\d+:-?\d+|CANCELLED): (.*)")
_STATUS = re.compile(r" \[[A-Z_]+\]$")
_UNBOUND = re.compile(r'No value with name "([^"]+)" found in Activation')
_LONGEST: Final = 4_000

KNOWN: Final = "known."
_EARTH_KM: Final = 6_371.0088


def distance_km(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Return the great-circle distance of two places in degrees, by the haversine formula.

    The earth is a sphere of its mean radius, 6,371.0088 km (IUGG), so it errs by up to 0.6 %.

    Raises:
        ValueError: a coordinate is no finite number.

    >>> round(distance_km(40.7128, -74.0060, 48.8566, 2.3522))
    5837
    """
    if not all(map(math.isfinite, (latitude, longitude, to_latitude, to_longitude))):
        raise ValueError("a coordinate is no finite number")
    phi, to_phi = math.radians(latitude), math.radians(to_latitude)
    half = math.sin((to_phi - phi) / 2) ** 2
    half += math.cos(phi) * math.cos(to_phi) * math.sin(math.radians(to_longitude - longitude) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(1.0, max(0.0, half))))


_FUNCTIONS: Final = {"distance_km": distance_km}


class ExpressionError(ValueError):
    """An expression cannot be used; the message says why, without position.

    ``name`` is the one that is wrong, empty where none is.
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """An evaluation that stayed undecided because ``name`` has no value."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An evaluation that ended in an error, such as a division by zero."""

    message: str


class Activation:
    """Values of variables, shared by all the expressions of one environment."""

    __slots__ = ("native",)

    def __init__(self, native: Any) -> None:
        self.native = native


class Expression:
    """A checked boolean expression; two of the same text are the same expression."""

    __slots__ = ("_native", "reads", "text")

    def __init__(self, text: str, native: Any, reads: frozenset[str]) -> None:
        self.text = text
        self.reads = reads
        self._native = native

    def evaluate(self, activation: Activation) -> bool | Missing | Failed:
        """Evaluate; a missing value follows CEL's absorption, so ``missing || true`` is true."""
        try:
            value = self._native.eval(activation.native)
        except RuntimeError as error:
            return Failed(message=str(error))
        if value.type() == cel.Type.BOOL:
            return bool(value.value())
        message = str(value.value())
        if unbound := _UNBOUND.search(message):
            return Missing(name=unbound[1])
        return Failed(message=message)


class Formula:
    """A checked expression whose result is a number with decimals."""

    __slots__ = ("_native", "reads")

    def __init__(self, native: Any, reads: frozenset[str]) -> None:
        self.reads = reads
        self._native = native

    def evaluate(self, activation: Activation) -> float:
        """Evaluate; NaN where a needed value is missing, it fails or the result is not finite."""
        try:
            value = self._native.eval(activation.native)
        except RuntimeError:
            return math.nan
        number = value.value() if value.type() == cel.Type.DOUBLE else math.nan
        return float(number) if math.isfinite(number) else math.nan


class Environment:
    """The declared variables; for each, a boolean ``known.<name>`` says whether it has a value.

    ``refused`` says of names that exist elsewhere why expressions cannot read them. Beside CEL's
    own there is the function ``distance_km(latitude, longitude, latitude, longitude)``.
    """

    def __init__(self, variables: Mapping[str, Any], refused: Mapping[str, str] | None = None) -> None:
        self.variables = dict(variables)
        self._refused = dict(refused or {})
        declared = {**self.variables, **{KNOWN + name: BOOL for name in self.variables}}
        self._names = frozenset(declared)
        self._env = cel.NewEnv(
            variables=declared,
            functions=[cel.FunctionDecl(n, [cel.Overload(n, DOUBLE, [DOUBLE] * 4)]) for n in _FUNCTIONS],
            function_impls=_FUNCTIONS,
        )
        self._compiled: dict[str, Expression] = {}

    def compile(self, text: str) -> Expression:
        """Check names and types of a boolean expression.

        Raises:
            ExpressionError: it is no CEL, reads an undeclared name, mixes types, uses a macro
                that is refused, or is not boolean.
        """
        if (known := self._compiled.get(text)) is None:
            native, reads = self._check(text, BOOL, "true or false")
            known = self._compiled[text] = Expression(text, native, reads)
        return known

    def formula(self, text: str) -> Formula:
        """Check names and types of an expression whose result is a number with decimals.

        Raises:
            ExpressionError: as for ``compile``, or the result is not such a number.
        """
        return Formula(*self._check(text, DOUBLE, "a number with decimals"))

    def _check(self, text: str, wanted: Any, described: str) -> tuple[Any, frozenset[str]]:
        if len(text) > _LONGEST:
            raise ExpressionError(f"longer than {_LONGEST} characters")
        bare = STRING_OR_COMMENT.sub(lambda found: " " if found["comment"] else "''", text)
        if _HAS.search(bare):
            raise ExpressionError("has() is refused: write known.<name> to ask whether a value is known")
        if macro := _MACRO.search(bare):
            raise ExpressionError(f"{macro[1]}() is refused: expressions do not loop")
        try:
            native = self._env.compile(text)
        except RuntimeError as error:
            raise self._explained(str(error)) from None
        if native.return_type() != wanted:
            raise ExpressionError(f"must be {described}, not {native.return_type().name().lower()}")
        return native, self._reads(bare)

    def activation(self, values: Mapping[str, Any], names: Iterable[str]) -> Activation:
        """Bind the given ``names``; a name without an entry in ``values`` stays unbound."""
        return self.activate(bind(values, names))

    def activate(self, bound: Mapping[str, Any]) -> Activation:
        """Make an activation of what ``bind`` returned."""
        return Activation(self._env.Activation(bound))

    def _reads(self, bare: str) -> frozenset[str]:
        paths = (re.sub(r"\s", "", match[0]) for match in _PATH.finditer(bare.translate(_AROUND_NAMES)))
        return frozenset(name for path in paths if (name := self._longest(path)))

    def _longest(self, path: str) -> str | None:
        parts = path.split(".")
        for end in range(len(parts), 0, -1):
            if (name := ".".join(parts[:end])) in self._names:
                return name
        return None

    def _explained(self, report: str) -> ExpressionError:
        first = _FIRST_ERROR.search(report)
        message = _STATUS.sub("", first[1] if first else report)
        if not (undeclared := _UNDECLARED.search(message)):
            if "no matching overload" in message and "double, int" in message:
                message += "; write a whole number as 30.0 beside a number with decimals"
            if "no matching overload" in message and "int, double" in message:
                message += "; write 30 beside a whole number"
            return ExpressionError(message)
        name = undeclared[1]
        if reason := self._refused.get(name.removeprefix(KNOWN)):
            return ExpressionError(reason, name)
        if name in _FUNCTIONS:
            return ExpressionError(f"{name}() takes latitude, longitude, latitude, longitude", name)
        suggestion = did_you_mean(name, [*self._names, *_FUNCTIONS])
        return ExpressionError(f'"{name}" is not declared{suggestion}', name)


def bind(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the entries of ``values`` for the given names, and whether there are any for ``known.`` ones."""
    bound: dict[str, Any] = {}
    for name in names:
        if name.startswith(KNOWN):
            bound[name] = name.removeprefix(KNOWN) in values
        elif name in values:
            bound[name] = values[name]
    return bound
