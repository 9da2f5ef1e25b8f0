"""Rows that are refused: all of them into a file, the first ones onto the screen."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from services.cli.failure import Failure
from services.engine.violations import Violation

HEADER: Final = ("file", "line", "column", "field", "reason")
_SHOWN: Final = 10


class Rejects:
    """Lists refused rows, a line for each field that is wrong; no line repeats what the field holds."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.rows = 0
        self.path = path
        self._writer: Any = csv.writer(file)
        self._writer.writerow(HEADER)

    def add(self, file: Path, line: int, wrong: Sequence[tuple[str, Violation]]) -> None:
        """Refuse a row, for violations with the columns they came from."""
        self.rows += 1
        for column, (field, reason) in wrong:
            self._writer.writerow((file, line, column, field, reason))
        if self.rows <= _SHOWN:
            reasons = "; ".join(
                f"{column or field}: {reason}".lstrip(": ") for column, (field, reason) in wrong
            )
            sys.stderr.write(f"{file}:{line}: {reasons}\n")
        elif self.rows == _SHOWN + 1:
            sys.stderr.write(f"more refused rows are listed in {self.path}\n")


@contextmanager
def listed(path: Path) -> Iterator[Rejects]:
    """Make the list anew; where no row was refused, there is none afterwards.

    Raises:
        Failure: the file cannot be written, or is there and is no such list.
    """
    try:
        if path.exists() and not _is_list(path):
            raise Failure(f"--rejects {path}: this file is no list of refused rows; it stays as it is")
        with path.open("w", encoding="utf-8", newline="") as file:
            rejects = Rejects(path, file)
            yield rejects
    except OSError as error:
        raise Failure(f"--rejects {path}: cannot be written: {error.strerror}") from None
    if not rejects.rows:
        path.unlink(missing_ok=True)


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.readline(100).strip() in (b"", ",".join(HEADER).encode())
