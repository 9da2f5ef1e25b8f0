"""The stores of the feature and the profile service as SQLite files, opened for reading only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from services.engine.features.history import StoredEvent
from training.data import rows
from training.data.ports import Recorded, Sequenced
from training.refusal import Refused

_SECONDS: Final = 10.0
_EVENTS: Final = """
    SELECT customer_id, event_id, type, event_time, attributes FROM events
    WHERE (?1 IS NULL OR type IN (SELECT value FROM json_each(?1)))
        AND (?2 IS NULL OR customer_id IN (SELECT value FROM json_each(?2)))
    ORDER BY sequence
"""
_SEQUENCED: Final = """
    SELECT sequence, customer_id, event_id, type, event_time, attributes FROM events
    WHERE customer_id IN (SELECT value FROM json_each(?)) ORDER BY sequence
"""
_ERASED: Final = "SELECT customer_hash, sequence FROM changes WHERE customer_hash <> ''"
_LAST: Final = "SELECT max(event_time) FROM events"
_RECORDED: Final = """
    SELECT customer_id, name, record_time, value FROM attributes
    WHERE customer_id IN (SELECT value FROM json_each(?))
"""
_POINTERS: Final = "SELECT member_id, customer_id FROM pointers"


class SqliteEvents:
    """Implements ``EventReader``."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def events(
        self, *, types: Collection[str] | None = None, customers: Collection[str] | None = None
    ) -> Iterator[tuple[str, StoredEvent]]:
        """Yield (customer id, event) in the order of storing."""
        for row in _rows(self._path, "event store", _EVENTS, _json(types), _json(customers)):
            yield rows.happened(self.name, row)

    def sequenced(self, customers: Collection[str]) -> Iterator[Sequenced]:
        """Yield the events of these ids with their sequences."""
        for sequence, *row in _rows(self._path, "event store", _SEQUENCED, _json(customers)):
            yield Sequenced(sequence, *rows.happened(self.name, tuple(row)))

    def erased(self) -> Iterator[tuple[str, int]]:
        """Yield whose events were erased."""
        yield from _rows(self._path, "event store", _ERASED)

    def last_event_time(self) -> int | None:
        """Return the newest event time."""
        found: int | None = next(_rows(self._path, "event store", _LAST))[0]
        return found


class SqliteProfiles:
    """Implements ``ProfileReader``."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def recorded(self, customers: Collection[str]) -> Iterator[Recorded]:
        """Yield every value that became known."""
        for row in _rows(self._path, "profile store", _RECORDED, _json(customers)):
            yield rows.recorded(self.name, row)

    def pointers(self) -> Iterator[tuple[str, str]]:
        """Yield who was linked to whom."""
        yield from _rows(self._path, "profile store", _POINTERS)


def _json(items: Collection[str] | None) -> str | None:
    return None if items is None else json.dumps(list(items), ensure_ascii=False)


def _rows(path: Path, what: str, statement: str, *parameters: str | None) -> Iterator[Any]:
    if not path.is_file():
        raise Refused(f"there is no {what} {path}")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=_SECONDS)) as connection:
            yield from connection.execute(statement, parameters)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # Of what is no text any more the error quotes the value, and it is the only one without a code.
        said = error if hasattr(error, "sqlite_errorcode") else "something in it is no text"
        raise Refused(f"{path} cannot be read as {what}: {said}") from None
