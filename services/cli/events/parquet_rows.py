"""Rows of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from services.cli.events.row import Damaged, Row
from services.cli.failure import Failure

_ROWS: Final = 1_000
_BUFFER_BYTES: Final = 1 << 20


class ParquetRows:
    """Reads a Parquet file a thousand rows at a time."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Read the schema.

        Raises:
            Failure: it cannot be read, or what reads Parquet is not installed.
        """
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise Failure(
                f"{path}: reading Parquet needs pyarrow: pip install 'tact-nba[training]'"
            ) from None
        self.path = path
        self._file = file
        self._errors = (pyarrow.ArrowException, OSError)
        self._read = 0
        try:
            # Without these a whole group of rows would be held at once.
            self._parquet = parquet.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        except self._errors as error:
            raise Failure(f"{path} is no Parquet file that can be read: {error}") from None
        self.header: Sequence[str] = self._parquet.schema_arrow.names

    def rows(self, columns: Sequence[str]) -> Iterator[Row | Damaged]:
        """Read the rows in order."""
        batches = self._parquet.iter_batches(batch_size=_ROWS, columns=list(columns))
        while True:
            try:
                batch = next(batches, None)
            except self._errors as error:
                raise Failure(f"{self.path}: cannot be read after row {self._read}: {error}") from None
            if batch is None:
                return
            for cells in zip(*(_plain(batch.column(name)) for name in columns), strict=True):
                self._read += 1
                yield Row(self._read, dict(zip(columns, cells, strict=True)))

    def share_read(self) -> float:
        """Tell how much was read."""
        return float(self._read / max(1, self._parquet.metadata.num_rows))

    def close(self) -> None:
        """Let go of the file."""
        self._parquet.close()
        self._file.close()


def _plain(column: Any) -> list[object]:
    """Return what a column holds as Python's own values; times are cut to microseconds."""
    import pyarrow

    if pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    values: list[object] = column.to_pylist()
    return values
