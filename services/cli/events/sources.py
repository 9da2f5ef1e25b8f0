"""Opens files of rows by what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from services.cli.events.csv_rows import CsvRows
from services.cli.events.parquet_rows import ParquetRows
from services.cli.events.row import Source
from services.cli.failure import Failure

_PARQUET: Final = b"PAR1"


def open_source(path: Path, *, delimiter: str, encoding: str) -> Source:
    """Open a file: Parquet where it begins as such, whatever its name, else CSV.

    Raises:
        Failure: it cannot be read, or has no header.
    """
    try:
        file = path.open("rb")
        begins = file.peek(len(_PARQUET))[: len(_PARQUET)]
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from None
    try:
        if begins == _PARQUET:
            return ParquetRows(path, file)
        return CsvRows(path, file, delimiter=delimiter, encoding=encoding)
    except BaseException:
        file.close()
        raise
