"""Rows of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from services.cli.events.row import Damaged, Row
from services.cli.failure import Failure

_ROWS: Final = 1_000
_BUFFER_BYTES: Final = 1 << 20
# What pyarrow raises for a cell that is no value of Python's; its own errors are among them.
_UNHELD: Final = (ArithmeticError, LookupError, ValueError, NotImplementedError)


class ParquetRows:
    """Reads a Parquet file a thousand rows at a time; a cell that Python cannot hold damages its row only."""

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

    def check(self, columns: Sequence[str]) -> None:
        """Make sure that the zones of these columns are known.

        Raises:
            Failure: one is not.
        """
        import pyarrow

        for name in columns:
            kind = self._parquet.schema_arrow.field(name).type
            if not pyarrow.types.is_timestamp(kind):
                continue
            try:
                pyarrow.scalar(0, kind).as_py()
            except _UNHELD:
                raise Failure(
                    f'{self.path}: the column "{name:.64}" cannot be read: '
                    f'"{kind.tz:.64}" is no time zone that is known here'
                ) from None

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
            held = [_in_microseconds(batch.column(name)) for name in columns]
            try:
                plain: list[list[object]] = [column.to_pylist() for column in held]
            except _UNHELD:
                yield from self._cell_by_cell(columns, held, batch.num_rows)
                continue
            for cells in zip(*plain, strict=True):
                self._read += 1
                yield Row(self._read, dict(zip(columns, cells, strict=True)))

    def _cell_by_cell(
        self, columns: Sequence[str], held: Sequence[Any], rows: int
    ) -> Iterator[Row | Damaged]:
        for place in range(rows):
            self._read += 1
            cells: dict[str, object] = {}
            for name, column in zip(columns, held, strict=True):
                try:
                    cells[name] = column[place].as_py()
                except _UNHELD as error:
                    yield Damaged(self._read, name, _reason(column.type, error))
                    break
            else:
                yield Row(self._read, cells)

    def share_read(self) -> float:
        """Tell how much was read."""
        return float(self._read / max(1, self._parquet.metadata.num_rows))

    def close(self) -> None:
        """Let go of the file."""
        self._parquet.close()
        self._file.close()


def _in_microseconds(column: Any) -> Any:
    """Return a column whose times are cut to microseconds."""
    import pyarrow

    if pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    return column


def _reason(kind: Any, error: Exception) -> str:
    """Tell what is wrong with a cell, but not what it holds."""
    import pyarrow

    if isinstance(error, UnicodeError):
        return "is not UTF-8"
    if pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date(kind):
        return "lies out of all calendars"
    return "is no value that can be read"
