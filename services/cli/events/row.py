"""Rows of a file, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Row:
    """What one row holds by column: text where the file is CSV, and None where Parquet holds nothing.

    ``line`` counts from 1: the line that a row of CSV begins on, or the row of a Parquet file.
    """

    line: int
    cells: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Damaged:
    """A row that cannot be read; ``column`` is empty where that is no matter of one column."""

    line: int
    column: str
    reason: str


class Source(Protocol):
    """A file of rows, of which opening reads no more than the names of the columns."""

    path: Path
    header: Sequence[str]

    def check(self, columns: Sequence[str]) -> None:
        """Make sure that none of these columns is such that no row of it can ever be read.

        Raises:
            Failure: one is; the message names file and column.
        """
        ...

    def rows(self, columns: Sequence[str]) -> Iterator[Row | Damaged]:
        """Read the rows in order, with the given columns only; memory does not grow with the file.

        Raises:
            Failure: the file cannot be read on.
        """
        ...

    def share_read(self) -> float:
        """Tell how much of the file was read, from 0 to 1."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...
