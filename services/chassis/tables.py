"""Whole rows of a store's tables, on their way out of it and back, the same for every kind of store."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Row = tuple[Any, ...]
"""The values of a row in the order of its table's columns."""
Key = tuple[Any, ...]

_ROWS_AT_ONCE: Final = 100
_MOST_BYTES: Final = 1 << 20
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class InvalidRow(ValueError):
    """A text is no row of its table, or a token none of an export; the message says why."""


class RowDiffers(Exception):
    """The store holds another row in the place of one that is to be put back."""

    def __init__(self, table: Table, row: Row) -> None:
        named = ", ".join(
            column if column in table.hidden else f"{column} {value}"
            for column, value in zip(table.key, table.key_of(row), strict=True)
        )
        super().__init__(f"{table.name}: another row stands in the place of {named}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: ``key`` are the columns that order it and tell its rows apart.

    ``owners`` are those that hold the id of a customer whose row it is; a table without any is nobody's.
    ``numbers`` are those that hold whole numbers, ``binary`` those that hold bytes, all others hold text;
    ``identity`` is one that the store itself numbers. Of two rows with one key the one whose column
    ``greatest`` is greater takes the other's place, where such a column is named.
    ``hidden`` are those whose values no message repeats.
    Such a table is put back before all others, unless it ``refers`` to those before it.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    owners: tuple[str, ...] = ()
    numbers: frozenset[str] = frozenset()
    binary: frozenset[str] = frozenset()
    identity: str = ""
    greatest: str = ""
    hidden: frozenset[str] = frozenset()
    refers: bool = False

    def key_of(self, row: Row) -> Key:
        """Return what tells a row from others."""
        return tuple(row[self.columns.index(column)] for column in self.key)

    def encode(self, row: Row) -> str:
        """Return a row as a JSON object of its columns; bytes are base64."""
        named = {
            column: base64.b64encode(value).decode() if column in self.binary and value is not None else value
            for column, value in zip(self.columns, row, strict=True)
        }
        return json.dumps(named, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def decode(self, text: str) -> Row:
        """Return the row that a text holds.

        Raises:
            InvalidRow: it is no JSON object of exactly these columns, or a value is none that its column can
                keep in every kind of store: text without NUL and lone surrogates, a whole number of 64 bits,
                or nothing.
        """
        try:
            named = json.loads(text, object_pairs_hook=_once)
            if not isinstance(named, dict) or named.keys() != set(self.columns):
                raise InvalidRow(f"{self.name}: a row has the columns {', '.join(self.columns)}")
            return tuple(self.checked(column, named[column]) for column in self.columns)
        except InvalidRow:
            raise
        except RecursionError:
            raise InvalidRow(f"{self.name}: it is nested too deeply") from None
        except ValueError as error:
            raise InvalidRow(f"{self.name}: {error}") from None

    def checked(self, column: str, value: object) -> object:
        """Return the value of a column as a row holds it.

        Raises:
            InvalidRow: it is none.
        """
        if value is None:
            return None
        if column in self.binary:
            if not isinstance(value, str):
                raise InvalidRow(f"{self.name}: {column} is no base64")
            return base64.b64decode(value, validate=True)
        if isinstance(value, str) and ("\0" in value or _LONE_SURROGATE.search(value)):
            raise InvalidRow(f"{self.name}: {column} holds a character that is none of a text")
        is_number = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
        if not (is_number if column in self.numbers else isinstance(value, str)):
            raise InvalidRow(f"{self.name}: {column} is of a kind that it never is")
        return value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ValueError("a column is there twice")
    return named


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Part of an export: (table, row as JSON), and the token of what follows, empty at the end."""

    rows: Sequence[tuple[str, str]]
    next_token: str


Fetch = Callable[[Table, Key | None, int], Awaitable[list[Row]]]
"""Returns at most so many rows of a table behind a key, in the order of the keys."""


async def exported(fetch: Fetch, tables: Sequence[Table], token: str, most_bytes: int = _MOST_BYTES) -> Page:
    """Return the rows from a token on, until they are ``most_bytes`` or more.

    Raises:
        InvalidRow: the token is none of these tables.
    """
    index, after = _place(tables, token)
    rows: list[tuple[str, str]] = []
    size = 0
    while index < len(tables):
        table = tables[index]
        found = await fetch(table, after, _ROWS_AT_ONCE)
        for row in found:
            text = table.encode(row)
            rows.append((table.name, text))
            after, size = table.key_of(row), size + len(text)
            if size >= most_bytes:
                return Page(rows=rows, next_token=json.dumps([table.name, after]))
        if len(found) < _ROWS_AT_ONCE:
            index, after = index + 1, None
    return Page(rows=rows, next_token="")


def _place(tables: Sequence[Table], token: str) -> tuple[int, Key | None]:
    if not token:
        return 0, None
    try:
        name, after = json.loads(token)
        index = [table.name for table in tables].index(name)
        if not isinstance(after, list) or None in after:
            raise ValueError(token)
        for column, value in zip(tables[index].key, after, strict=True):
            tables[index].checked(column, value)
    except (ValueError, TypeError):
        raise InvalidRow("page_token is none of this export") from None
    return index, tuple(after)


def tombstone(customer_id: str) -> str:
    """Return what is remembered of an erased customer: the SHA-256 of its id, in hexadecimal."""
    return hashlib.sha256(customer_id.encode()).hexdigest()
