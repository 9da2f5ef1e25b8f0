"""Texts with placeholders: ``Your order of {profile.ordered_on|last month} is on its way.``"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

PREFIXES: Final = ("profile", "context", "feature", "action")
_PLACEHOLDER = re.compile(r"\{([^{}|]*)(?:\|([^{}]*))?\}")
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A text as pieces: each a literal, or a name with its substitute or None."""

    pieces: tuple[str | tuple[str, str | None], ...]

    @property
    def reads(self) -> frozenset[str]:
        """Return the names of its placeholders."""
        return frozenset(piece[0] for piece in self.pieces if not isinstance(piece, str))

    @property
    def text(self) -> str:
        """Return the literals; all of the text where it has no placeholder."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    def missing(self, values: Mapping[str, object]) -> list[str]:
        """Return the names that have neither a value nor a substitute."""
        placeholders = (piece for piece in self.pieces if not isinstance(piece, str))
        return [name for name, substitute in placeholders if substitute is None and values.get(name) is None]

    def fill(self, values: Mapping[str, object], zones: Sequence[ZoneInfo]) -> str | None:
        """Return the text, or None where a value without a substitute is missing.

        Instants are written as local time, or in UTC and saying so where the zones that the reader may be
        in do not agree; whole numbers without decimals, others with two.
        """
        filled = [piece if isinstance(piece, str) else _value(*piece, values, zones) for piece in self.pieces]
        return None if None in filled else "".join(piece for piece in filled if piece is not None)


def parse(text: str) -> Template:
    """Take a text apart.

    Raises:
        ValueError: a brace is left open, or holds no name such as ``profile.first_name``.

    >>> parse("Hello {profile.name|you}!").pieces
    ('Hello ', ('profile.name', 'you'), '!')
    """
    pieces: list[str | tuple[str, str | None]] = []
    end = 0
    for found in _PLACEHOLDER.finditer(text):
        if not _NAME.fullmatch(found[1]):
            raise ValueError(f'"{" ".join(found[0].split())}" is no name such as {{profile.first_name}}')
        pieces += [text[end : found.start()], (found[1], found[2])]
        end = found.end()
    pieces.append(text[end:])
    if any(isinstance(piece, str) and ("{" in piece or "}" in piece) for piece in pieces):
        raise ValueError("a brace is left open")
    return Template(pieces=tuple(piece for piece in pieces if piece))


def _value(
    name: str, substitute: str | None, values: Mapping[str, object], zones: Sequence[ZoneInfo]
) -> str | None:
    value = values.get(name)
    if value is None:
        return substitute
    if isinstance(value, datetime):
        local, *others = {f"{value.astimezone(zone):%Y-%m-%d %H:%M}" for zone in zones}
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if others else local
    if isinstance(value, float):
        # Adding zero takes the sign from a zero.
        return f"{value + 0.0:.0f}" if value == int(value) else f"{round(value, 2) + 0.0:.2f}"
    return str(value).lower() if isinstance(value, bool) else str(value)
