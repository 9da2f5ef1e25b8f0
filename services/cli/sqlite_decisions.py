"""The decision log in a SQLite file, opened for each look and for reading only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from services.cli.decision_log import Entry, Outcome
from services.cli.failure import Failure

_ROWS_AT_ONCE: Final = 32
_OUTCOMES_AT_ONCE: Final = 1_000
_SECONDS: Final = 10.0
_TABLES: Final = ("decisions", "dry_run_decisions")
_COUNT: Final = {
    True: "SELECT count(*) FROM decisions",
    False: "SELECT count(*) FROM dry_run_decisions",
}
_ERASED: Final = "SELECT count(*) FROM erased_decisions"
_LAST: Final = {
    True: "SELECT coalesce(max(rowid), 0) FROM decisions",
    False: "SELECT coalesce(max(rowid), 0) FROM dry_run_decisions",
}
_ROWS: Final = {
    True: """
        SELECT record_time, rowid, decision_id, record FROM decisions
        WHERE (record_time, rowid) > (?, ?) AND rowid <= ? ORDER BY record_time, rowid LIMIT ?
    """,
    False: """
        SELECT record_time, rowid, decision_id, record FROM dry_run_decisions
        WHERE (record_time, rowid) > (?, ?) AND rowid <= ? ORDER BY record_time, rowid LIMIT ?
    """,
}
_OUTCOMES: Final = """
    SELECT rowid, decision_id, rank, kind, outcome_time, measures FROM outcomes
    WHERE rowid > ? ORDER BY rowid LIMIT ?
"""


class SqliteDecisions:
    """Implements ``Reader``."""

    def __init__(self, path: Path) -> None:
        """Look at the file.

        Raises:
            Failure: it holds no decision log.
        """
        self.name = str(path)
        self._path = path
        self._last = {live: self._one(_LAST[live]) for live in (True, False)}
        for live in (True, False):
            # What has the tables of a log but not their columns is no log, even while it is empty.
            self._rows(_ROWS[live], (0, 0, 0, 0))

    def count(self, live: bool) -> int:
        """Return how many decisions are on record."""
        return self._one(_COUNT[live])

    def erased(self) -> int:
        """Return how many decisions were erased."""
        with self._reading() as connection:
            # Older logs do not have the table.
            if not _has(connection, "erased_decisions"):
                return 0
            count: int = connection.execute(_ERASED).fetchone()[0]
            return count

    def entries(self, live: bool) -> Iterator[tuple[int, Entry]]:
        """Yield each decision with its record time; ties in order of writing."""
        after = (-(2**63), 0)
        while True:
            rows = self._rows(_ROWS[live], (*after, self._last[live], _ROWS_AT_ONCE))
            for record_time, row_id, decision_id, record in rows:
                if not (isinstance(record_time, int) and isinstance(record, bytes)):
                    raise Failure(f"{self.name} cannot be read as a decision log: row {row_id} is damaged")
                yield record_time, Entry(live=live, decision_id=decision_id, record=record)
                after = (record_time, row_id)
            if len(rows) < _ROWS_AT_ONCE:
                return

    def outcomes(self) -> Iterator[Outcome]:
        """Yield each outcome in order of writing."""
        after = 0
        while True:
            rows = self._rows(_OUTCOMES, (after, _OUTCOMES_AT_ONCE))
            for row_id, decision_id, rank, kind, outcome_time, measures in rows:
                yield Outcome(decision_id, rank, kind, outcome_time, json.loads(measures))
                after = row_id
            if len(rows) < _OUTCOMES_AT_ONCE:
                return

    def _one(self, statement: str) -> int:
        found: int = self._rows(statement, ())[0][0]
        return found

    def _rows(self, statement: str, parameters: tuple[int, ...]) -> list[Any]:
        with self._reading() as connection:
            return connection.execute(statement, parameters).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        # Beside a store in WAL mode, readers leave files too. Where nobody writes, nothing is left.
        is_alone = not self._path.with_name(f"{self._path.name}-wal").exists()
        uri = f"{self._path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if is_alone else "")
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_SECONDS)) as connection:
                if absent := [table for table in _TABLES if not _has(connection, table)]:
                    raise Failure(f"{self.name} is no decision log: it has no table {absent[0]}")
                yield connection
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise Failure(f"{self.name} cannot be read as a decision log: {error}") from None


def _has(connection: sqlite3.Connection, table: str) -> bool:
    statement = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    return bool(connection.execute(statement, (table,)).fetchone()[0])
