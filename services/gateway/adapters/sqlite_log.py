"""The decision log in SQLite: one file, written in groups, read inline."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from services.chassis.sqlite import Database, StoreUnavailable, WriteQueueFull
from services.engine.instants import instant, microseconds
from services.gateway.domain.knowledge import Model
from services.gateway.ports import LogEntry, LogFull, Logged, NotLogged, OutcomeReport

_INSERT: Final = {
    True: "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    False: "INSERT INTO dry_run_decisions VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
}
_SELECT: Final = {
    True: "SELECT fingerprint, record_time, record FROM decisions WHERE decision_id = ?",
    False: "SELECT fingerprint, record_time, record FROM dry_run_decisions WHERE decision_id = ?",
}
_KEEP_MODEL: Final = """
    INSERT INTO last_model VALUES (1, ?) ON CONFLICT DO UPDATE SET description = excluded.description
"""
_TRACE_FREE_FROM: Final = 0.5
"""The share of a full queue from which records go without their optional trace."""


class SqliteLog:
    """Implements ``DecisionLog`` on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, decision_id: str, live: bool) -> Logged | None:
        """Return a decision on record."""
        try:
            return _find(self._database.read, decision_id, live)
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
            return None if inserted.rowcount else _find(connection, entry.decision_id, entry.live)

        try:
            return await self._database.write(write, durable=False)
        except WriteQueueFull:
            raise LogFull from None
        except (StoreUnavailable, sqlite3.Error) as error:
            raise NotLogged(f"the decision log cannot be written: {error}") from error

    async def record_outcomes(self, outcomes: Sequence[OutcomeReport], now: datetime) -> list[str]:
        """Write outcomes durably and answer each."""

        def write(connection: sqlite3.Connection) -> list[str]:
            return [_record(connection, outcome, now) for outcome in outcomes]

        try:
            return await self._database.write(write, durable=True)
        except WriteQueueFull:
            raise LogFull from None
        except (StoreUnavailable, sqlite3.Error) as error:
            raise NotLogged(str(error)) from error

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


def _model(description: str) -> Model:
    kept = json.loads(description)
    layout = tuple((name, digest, candidate) for name, digest, candidate in kept.pop("layout"))
    return Model(layout=layout, **kept)


def _record(connection: sqlite3.Connection, outcome: OutcomeReport, now: datetime) -> str:
    content = (outcome.decision_id, outcome.rank, outcome.kind, microseconds(outcome.outcome_time))
    standing = connection.execute(
        "SELECT decision_id, rank, kind, outcome_time FROM outcomes WHERE outcome_id = ?",
        (outcome.outcome_id,),
    ).fetchone()
    if standing is not None:
        return "duplicate" if standing == content else "reused"
    decision = connection.execute(
        "SELECT actions FROM decisions WHERE decision_id = ?", (outcome.decision_id,)
    ).fetchone()
    if decision is None or outcome.rank > decision[0]:
        return "unknown"
    connection.execute(
        "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", (outcome.outcome_id, *content, microseconds(now))
    )
    return "accepted"


def _find(connection: sqlite3.Connection, decision_id: str, live: bool) -> Logged | None:
    row = connection.execute(_SELECT[live], (decision_id,)).fetchone()
    if row is None:
        return None
    return Logged(fingerprint=row[0], record_time=instant(row[1]), record=row[2])
