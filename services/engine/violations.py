"""What is wrong with a request or one of its items."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.engine.playbook.errors import did_you_mean

LONGEST_ID: Final = 128
MOST_ATTRIBUTES: Final = 200
_LONGEST_NAME: Final = 64


class Violation(NamedTuple):
    """One field that breaks the contract; the description repeats no value."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """An item that is refused, with all that is wrong with it."""

    violations: tuple[Violation, ...]


class InvalidRequest(Exception):
    """A request that is refused as a whole, with all that is wrong with it."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(f"{field}: {description}" for field, description in violations))
        self.violations = violations


def unknown(name: str, known: Iterable[str]) -> str:
    """Say that the playbook does not declare a name, and which one is nearest.

    The name itself is not repeated: a caller that confuses fields may have put anything there.

    >>> unknown("mial", ["mail"])
    'not in the playbook; did you mean "mail"?'
    """
    return "not in the playbook" + did_you_mean(shorten(name), known)


def shorten(name: str) -> str:
    """Cut a name that is longer than any declared one can be."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def check_count(field: str, count: int, most: int, violations: list[Violation]) -> bool:
    """Check how many entries a caller sent; where there are too many, they are not worth a look."""
    if count > most:
        violations.append(Violation(field, f"{count} entries, at most {most}"))
    return count <= most


def check_text(field: str, value: str, violations: list[Violation], *, least: int, most: int) -> None:
    """Check the length of a text that the caller chose."""
    if not least <= len(value) <= most:
        length = f"{least} to {most}" if least else f"at most {most}"
        violations.append(Violation(field, f"must have {length} characters"))
    elif "\0" in value:
        violations.append(Violation(field, "must not contain the character U+0000"))
