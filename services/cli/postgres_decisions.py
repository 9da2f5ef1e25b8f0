"""The decision log in PostgreSQL, on a connection that cannot write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final

import psycopg

from services.chassis.postgres_connection import store_name, unavailable
from services.chassis.stores import StoreUnavailable
from services.cli.decision_log import Entry, Outcome
from services.cli.failure import Failure

_ROWS_AT_ONCE: Final = 32
_OUTCOMES_AT_ONCE: Final = 1_000
_SECONDS: Final = 10
_COUNT: Final = {
    True: "SELECT count(*) FROM decisions",
    False: "SELECT count(*) FROM dry_run_decisions",
}
_HAS_ERASED: Final = "SELECT (to_regclass('erased_decisions') IS NOT NULL)::integer"
_ERASED: Final = "SELECT count(*) FROM erased_decisions"
_LATEST: Final = {
    True: "SELECT coalesce(max(record_time), 0) FROM decisions",
    False: "SELECT coalesce(max(record_time), 0) FROM dry_run_decisions",
}
_ROWS: Final = {
    True: """
        SELECT record_time, decision_id, record FROM decisions
        WHERE (record_time, decision_id) > (%s, %s) AND record_time <= %s
        ORDER BY record_time, decision_id LIMIT %s
    """,
    False: """
        SELECT record_time, decision_id, record FROM dry_run_decisions
        WHERE (record_time, decision_id) > (%s, %s) AND record_time <= %s
        ORDER BY record_time, decision_id LIMIT %s
    """,
}
_OUTCOMES: Final = """
    SELECT outcome_id, decision_id, rank, kind, outcome_time, measures FROM outcomes
    WHERE outcome_id > %s ORDER BY outcome_id LIMIT %s
"""


class PostgresDecisions:
    """Implements ``Reader``."""

    def __init__(self, url: str) -> None:
        """Look at the database.

        Raises:
            Failure: it holds no decision log, or cannot be reached.
        """
        try:
            self.name = store_name(url)
        except StoreUnavailable as error:
            raise Failure(str(error)) from None
        self._url = url
        self._latest = {live: self._one(_LATEST[live]) for live in (True, False)}

    def count(self, live: bool) -> int:
        """Return how many decisions are on record."""
        return self._one(_COUNT[live])

    def erased(self) -> int:
        """Return how many decisions were erased."""
        # Older logs do not have the table.
        return self._one(_ERASED) if self._one(_HAS_ERASED) else 0

    def entries(self, live: bool) -> Iterator[tuple[int, Entry]]:
        """Yield each decision with its record time; ties by their ids."""
        after: tuple[int, str] = (-(2**63), "")
        while True:
            rows = self._rows(_ROWS[live], (*after, self._latest[live], _ROWS_AT_ONCE))
            for record_time, decision_id, record in rows:
                yield record_time, Entry(live=live, decision_id=decision_id, record=bytes(record))
                after = (record_time, decision_id)
            if len(rows) < _ROWS_AT_ONCE:
                return

    def outcomes(self) -> Iterator[Outcome]:
        """Yield each outcome in order of the ids."""
        after = ""
        while True:
            rows = self._rows(_OUTCOMES, (after, _OUTCOMES_AT_ONCE))
            for outcome_id, decision_id, rank, kind, outcome_time, measures in rows:
                yield Outcome(decision_id, rank, kind, outcome_time, json.loads(measures))
                after = outcome_id
            if len(rows) < _OUTCOMES_AT_ONCE:
                return

    def _one(self, statement: str) -> int:
        found: int = self._rows(statement, ())[0][0]
        return found

    def _rows(self, statement: str, parameters: Sequence[int | str]) -> list[Any]:
        try:
            with closing(psycopg.connect(self._url, connect_timeout=_SECONDS)) as connection:
                connection.read_only = True
                return connection.execute(statement, parameters).fetchall()
        except psycopg.errors.UndefinedTable as error:
            raise Failure(f"{self.name} is no decision log: {error.diag.message_primary}") from None
        except psycopg.Error as error:
            raise Failure(str(unavailable(self.name, error))) from None
