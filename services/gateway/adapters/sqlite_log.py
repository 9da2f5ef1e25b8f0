"""The decision log in SQLite: one file, written in groups, read inline."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from services.chassis.sqlite import Database, StoreUnavailable, WriteQueueFull, parsing
from services.engine.instants import instant, microseconds
from services.gateway.domain.knowledge import Model
from services.gateway.domain.outcomes import OutcomeReport, Verdict, settle
from services.gateway.ports import MOST_OUTCOMES_TOLD, LogEntry, LogFull, Logged, NotLogged

_INSERT: Final = {
    True: "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    False: "INSERT INTO dry_run_decisions VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
}
_SELECT: Final = {
    True: "SELECT fingerprint, record_time, record FROM decisions WHERE decision_id = ?",
    False: "SELECT fingerprint, record_time, record FROM dry_run_decisions WHERE decision_id = ?",
}
# A batch goes in and comes out as one JSON value: with a step for each outcome the writer thread would
# have to win the interpreter's lock back from the event loop once an outcome.
_KNOWN_OUTCOMES: Final = """
    SELECT json_group_array(json_array(outcome_id, decision_id, rank, kind, outcome_time, measures))
    FROM outcomes WHERE outcome_id IN (SELECT value FROM json_each(?))
"""
_ACTIONS: Final = """
    SELECT json_group_array(json_array(decision_id, actions))
    FROM decisions WHERE decision_id IN (SELECT value FROM json_each(?))
"""
_INSERT_OUTCOMES: Final = """
    INSERT INTO outcomes
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[6]'),
           json_extract(value, '$[5]')
    FROM json_each(?)
"""
_OUTCOMES: Final = """
    SELECT outcome_id, decision_id, rank, kind, outcome_time, measures
    FROM outcomes WHERE decision_id = ? ORDER BY outcome_time, outcome_id LIMIT ?
"""
_KEEP_MODEL: Final = """
    INSERT INTO last_model VALUES (1, ?) ON CONFLICT DO UPDATE SET description = excluded.description
"""
_TRACE_FREE_FROM: Final = 0.5
"""The share of a full queue from which records go without their optional trace."""

_Row = tuple[str, str, int, str, int, str]


class SqliteLog:
    """Implements ``DecisionLog`` on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, decision_id: str, live: bool) -> Logged | None:
        """Return a decision on record."""
        try:
            return self._find(self._database.read, decision_id, live)
        except (StoreUnavailable, sqlite3.Error) as error:
            raise NotLogged(f"the decision log cannot be read: {error}") from error

    async def append(self, entry: LogEntry) -> Logged | None:
        """Write a decision, or return the one that stands under its id."""
        crowded = self._database.queue_depth >= _TRACE_FREE_FROM * self._database.queue_limit
        record = entry.without_trace if crowded else entry.record

        def write(connection: sqlite3.Connection) -> Logged | None:
            inserted = connection.execute(
                _INSERT[entry.live],
                (
                    entry.decision_id,
                    entry.customer_id,
                    entry.fingerprint,
                    microseconds(entry.record_time),
                    entry.actions,
                    record,
                ),
            )
            return None if inserted.rowcount else self._find(connection, entry.decision_id, entry.live)

        try:
            return await self._database.write(write, durable=False)
        except WriteQueueFull:
            raise LogFull from None
        except (StoreUnavailable, sqlite3.Error) as error:
            raise NotLogged(f"the decision log cannot be written: {error}") from error

    async def record_outcomes(self, outcomes: Sequence[OutcomeReport], now: datetime) -> list[Verdict]:
        """Write outcomes durably and answer each."""
        try:
            return await self._database.write(lambda connection: self._record(connection, outcomes, now))
        except WriteQueueFull:
            raise LogFull from None
        except (StoreUnavailable, sqlite3.Error) as error:
            raise NotLogged(str(error)) from error

    def outcomes_of(self, decision_id: str) -> list[OutcomeReport]:
        """Return the first outcomes of a decision."""
        try:
            rows = self._database.read.execute(_OUTCOMES, (decision_id, MOST_OUTCOMES_TOLD)).fetchall()
            with parsing(self._database.path):
                return [_report(row) for row in rows]
        except (StoreUnavailable, sqlite3.Error) as error:
            raise NotLogged(f"outcomes cannot be read: {error}") from error

    def last_model(self) -> Model | None:
        """Return the model that was kept last."""
        try:
            row = self._database.read.execute("SELECT description FROM last_model").fetchone()
            return None if row is None else _model(row[0])
        except (StoreUnavailable, sqlite3.Error, ValueError, TypeError, KeyError):
            return None

    async def keep_model(self, model: Model) -> None:
        """Remember a model; failing to is of no consequence."""
        text = json.dumps(asdict(model))
        try:
            await self._database.write(
                lambda connection: connection.execute(_KEEP_MODEL, (text,)).rowcount, durable=False
            )
        except (WriteQueueFull, StoreUnavailable, sqlite3.Error):
            return

    def _find(self, connection: sqlite3.Connection, decision_id: str, live: bool) -> Logged | None:
        row = connection.execute(_SELECT[live], (decision_id,)).fetchone()
        if row is None:
            return None
        with parsing(self._database.path):
            return Logged(fingerprint=row[0], record_time=instant(row[1]), record=row[2])

    def _record(
        self, connection: sqlite3.Connection, reports: Sequence[OutcomeReport], now: datetime
    ) -> list[Verdict]:
        ids, decisions = {report.outcome_id for report in reports}, {report.decision_id for report in reports}
        rows = _rows(connection, _KNOWN_OUTCOMES, ids)
        with parsing(self._database.path):
            known = {row[0]: _report(row) for row in rows}
        verdicts, fresh = settle(reports, known, dict(_rows(connection, _ACTIONS, decisions)))
        if fresh:
            rows = [(*_row(report), microseconds(now)) for report in fresh]
            connection.execute(_INSERT_OUTCOMES, (json.dumps(rows, ensure_ascii=False),))
        return verdicts


def _model(description: str) -> Model:
    kept = json.loads(description)
    layout = tuple((name, digest, candidate) for name, digest, candidate in kept.pop("layout"))
    return Model(layout=layout, **kept)


def _rows(connection: sqlite3.Connection, statement: str, asked: Iterable[str]) -> list[Any]:
    found: list[Any] = json.loads(connection.execute(statement, (json.dumps(list(asked)),)).fetchone()[0])
    return found


def _row(report: OutcomeReport) -> _Row:
    return (
        report.outcome_id,
        report.decision_id,
        report.rank,
        report.kind,
        microseconds(report.outcome_time),
        # As a text, so that SQLite leaves its numbers alone.
        json.dumps(dict(report.measures)),
    )


def _report(row: _Row) -> OutcomeReport:
    outcome_id, decision_id, rank, kind, outcome_time, measures = row
    return OutcomeReport(
        outcome_id=outcome_id,
        decision_id=decision_id,
        rank=rank,
        kind=kind,
        outcome_time=instant(outcome_time),
        measures=json.loads(measures),
    )
