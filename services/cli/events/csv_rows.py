"""Rows of CSV files."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from services.cli.events.row import Damaged, Row
from services.cli.failure import Failure

_LONGEST_LINE: Final = 1 << 20
_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class CsvRows:
    """Reads RFC 4180: a header, fields in quotes where they hold delimiters, quotes or line ends.

    A line that is no CSV is damaged alone; what follows it is read as if it were not there. So is the
    first line of a row of several lines that has other columns than the header: its quote may be astray.
    Empty lines do not count. In UTF-8 a field of other bytes damages its row only.
    """

    def __init__(self, path: Path, file: BinaryIO, *, delimiter: str, encoding: str) -> None:
        """Read the header.

        Raises:
            Failure: there is none, it cannot be read, or delimiter or encoding are none.
        """
        self.path = path
        self._file = file
        self._size = max(1, path.stat().st_size)
        self._encoding = encoding
        if encoding.lower() in ("utf-8", "utf8"):
            if file.peek(2)[:2] in _MARKS:  # type: ignore[attr-defined]
                raise Failure(f"{path} is not UTF-8 but UTF-16: say --encoding utf-16")
            encoding = "utf-8-sig"
        try:
            text = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")
            self._lines = _Lines(text)
            self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)
        except LookupError:
            raise Failure(f'--encoding: there is no encoding "{encoding}"') from None
        except (TypeError, ValueError):
            raise Failure("--delimiter: must be one character") from None
        self.header: Sequence[str] = self._header()

    def check(self, columns: Sequence[str]) -> None:
        """Take any column: none of CSV is damaged as a whole."""

    def rows(self, columns: Sequence[str]) -> Iterator[Row | Damaged]:
        """Read the rows in order."""
        places = [(name, self.header.index(name)) for name in columns]
        while True:
            line = self._lines.begin()
            try:
                fields = self._next()
            except StopIteration:
                return
            except csv.Error as error:
                self._lines.take_back()
                yield Damaged(line, "", _reason(error))
                continue
            if not fields:
                continue
            if self._lines.has_stray_quote():
                self._lines.take_back()
                yield Damaged(line, "", "has a quote that is never opened")
                continue
            if len(fields) != len(self.header):
                self._lines.doubt()
                self._lines.take_back()
                yield Damaged(line, "", f"has {len(fields)} columns where the header has {len(self.header)}")
                continue
            cells = {name: fields[place] for name, place in places}
            foreign = next((name for name, cell in cells.items() if not _is_text(cell)), None)
            yield Row(line, cells) if foreign is None else Damaged(line, foreign, "is not UTF-8")

    def share_read(self) -> float:
        """Tell how much was read."""
        return min(1.0, self._file.tell() / self._size)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _header(self) -> list[str]:
        try:
            fields = self._next()
        except StopIteration:
            raise Failure(f"{self.path} is empty: its first line must name the columns") from None
        except csv.Error as error:
            raise Failure(f"{self.path}:1: {_reason(error)}") from None
        if not all(map(_is_text, fields)):
            raise Failure(f"{self.path}:1: is not UTF-8: say --encoding")
        return fields

    def _next(self) -> list[str]:
        try:
            return next(self._reader)
        except UnicodeError:
            line = self._lines.number + 1
            raise Failure(f"{self.path}:{line}: is not {self._encoding}: say --encoding") from None


class _Lines:
    """Hands lines to the parser, and those again that it took for a part of one that is damaged."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.number = 0
        self._text = text
        self._taken: list[str] = []
        self._back: deque[str] = deque()
        self._doubted = 0
        self._characters = 0

    def begin(self) -> int:
        """Begin a row; returns its line."""
        self._taken.clear()
        self._characters = 0
        return self.number + 1

    def take_back(self) -> None:
        """Take back all lines of the row but its first."""
        self._back.extendleft(reversed(self._taken[1:]))
        self.number -= len(self._taken) - 1

    def doubt(self) -> None:
        """Doubt the last line of a row of several: a quote in it may be what closed the row."""
        if len(self._taken) > 1:
            self._doubted = self.number

    def has_stray_quote(self) -> bool:
        """Tell whether the row begins with the doubted line, and not all of its quotes are pairs."""
        begins = self.number - len(self._taken) + 1
        return begins == self._doubted and sum(line.count('"') for line in self._taken) % 2 == 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        is_new = not self._back
        line = self._text.readline(_LONGEST_LINE) if is_new else self._back.popleft()
        if not line:
            raise StopIteration
        self.number += 1
        self._taken.append(line)
        self._characters += len(line)
        if len(line) == _LONGEST_LINE and not line.endswith(("\n", "\r")):
            while is_new and (rest := self._text.readline(_LONGEST_LINE)) and not rest.endswith(("\n", "\r")):
                pass
            raise csv.Error(f"line longer than {_LONGEST_LINE} characters")
        # What a stray quote takes in is read anew from each of its lines.
        if self._characters > _LONGEST_LINE and len(self._taken) > 1:
            raise csv.Error(f"row of several lines longer than {_LONGEST_LINE} characters")
        return line


def _is_text(cell: str) -> bool:
    """Tell whether bytes that are no text stand in a cell."""
    if cell.isascii():
        return True
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "field limit" in text:
        return f"has a field of more than {csv.field_size_limit()} characters; is a quote never closed?"
    if "unexpected end" in text:
        return "has a quote that is never closed"
    return f"is no CSV: {text}"
