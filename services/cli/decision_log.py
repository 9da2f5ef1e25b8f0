"""Decisions on record, read from a gateway's store: in order of time, a few at once, never written."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from services.chassis.settings import load
from services.cli.failure import Failure
from services.gateway.settings import GatewaySettings

_FILE: Final = "gateway.sqlite"
_POSTGRES: Final = ("postgresql://", "postgres://")


class Entry(NamedTuple):
    """One decision on record: ``record`` is a serialised ``tact.log.v1.DecisionRecord``."""

    live: bool
    decision_id: str
    record: bytes


class Outcome(NamedTuple):
    """One outcome as it was reported; ``kind`` as in ``ACCEPTED``, the time in microseconds since 1970."""

    decision_id: str
    rank: int
    kind: str
    outcome_time: int
    measures: Mapping[str, float]


class Reader(Protocol):
    """Reads one store as it is when it is asked first. Every method raises ``Failure``."""

    name: str

    def count(self, live: bool) -> int:
        """Return how many decisions are on record."""
        ...

    def erased(self) -> int:
        """Return how many decisions were on record and were erased with their customers."""
        ...

    def entries(self, live: bool) -> Iterator[tuple[int, Entry]]:
        """Yield each decision with its record time, the earliest first."""
        ...

    def outcomes(self) -> Iterator[Outcome]:
        """Yield each outcome, in an order that is the same every time."""
        ...


def count(log: str | None, *, live: bool = True, dry: bool = True) -> int:
    """Return how many decisions are on record.

    Raises:
        Failure: there is no such log, it is none, or it cannot be read.
    """
    reader = reader_of(log)
    return sum(reader.count(is_live) for is_live in _wanted(live, dry))


def erased(log: str | None) -> int:
    """Return how many decisions were erased with their customers.

    Raises:
        Failure: there is no such log, it is none, or it cannot be read.
    """
    return reader_of(log).erased()


def records(log: str | None, *, live: bool = True, dry: bool = True) -> Iterator[Entry]:
    """Return the decisions that are on record by now, the earliest first, live ones first among ties.

    ``log`` is the SQLite file of a gateway, the folder that holds it, or the URL of a database; None
    means what a gateway would use here. A gateway may go on writing: each look is short, and what it
    writes meanwhile is left out.

    Raises:
        Failure: there is no such log, it is none, or it cannot be read; the latter also on the way.
    """
    reader = reader_of(log)
    merged = heapq.merge(
        *(reader.entries(is_live) for is_live in _wanted(live, dry)), key=lambda entry: entry[0]
    )
    return (entry for _, entry in merged)


def outcomes(log: str | None) -> Iterator[Outcome]:
    """Return what was reported of live decisions, in an order that is the same every time.

    Raises:
        Failure: there is no such log, it is none, or it cannot be read.
    """
    return reader_of(log).outcomes()


def reader_of(log: str | None) -> Reader:
    """Open a log.

    Raises:
        Failure: there is no such log, it is none, or it cannot be read.
    """
    if (log := _usual(log)).startswith(_POSTGRES):
        # Not every image has the driver.
        from services.cli.postgres_decisions import PostgresDecisions

        return PostgresDecisions(log)
    from services.cli.sqlite_decisions import SqliteDecisions

    return SqliteDecisions(place(log))


def place(log: str | None) -> Path:
    """Return the file of a log: a store's own path, or that in a folder which holds one.

    Raises:
        Failure: there is none.
    """
    if (log := _usual(log)).startswith(_POSTGRES):
        raise Failure("the decision log lies in PostgreSQL: name a file or a folder instead")
    path = Path(log)
    if path.is_dir():
        path /= _FILE
    if not path.is_file():
        raise Failure(f"there is no decision log {path}")
    return path


def home_of(log: str | None) -> Path:
    """Return the folder beside which a gateway keeps everything else: that of the file, else TACT_HOME."""
    return _home() if _usual(log).startswith(_POSTGRES) else place(log).parent


def _usual(log: str | None) -> str:
    log = log or load(GatewaySettings).store_url or str(_home() / _FILE)
    if "://" in log and not log.startswith(_POSTGRES):
        # It may hold a password.
        raise Failure("a decision log is a file, a folder that holds one, or begins with postgresql://")
    return log


def _home() -> Path:
    return Path(os.environ.get("TACT_HOME", ".tact"))


def _wanted(live: bool, dry: bool) -> list[bool]:
    return [is_live for is_live, is_wanted in ((True, live), (False, dry)) if is_wanted]
