"""The stores of the feature and the profile service in PostgreSQL, on connections that cannot write."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from services.engine.features.history import StoredEvent
from training.data import rows
from training.data.ports import Recorded, Sequenced
from training.refusal import Refused

# What a URL says comes first. A server whose path drops packets is given up after these seconds.
_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "20000",
    "fallback_application_name": "tact",
}
_ROWS_AT_ONCE: Final = 1_000
# A service may keep its tables in a schema of its own.
_NAMES: Final = "SELECT set_config('search_path', %s || ', ' || current_setting('search_path'), false)"
# What such errors say may quote values: data, constraints.
_QUOTING: Final = ("22", "23")
_EVENTS: Final = """
    SELECT customer_id, event_id, type, event_time, attributes FROM events
    WHERE (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
        AND (%(customers)s::text[] IS NULL OR customer_id = ANY(%(customers)s::text[]))
    ORDER BY sequence
"""
_SEQUENCED: Final = """
    SELECT sequence, customer_id, event_id, type, event_time, attributes FROM events
    WHERE customer_id = ANY(%(customers)s::text[]) ORDER BY sequence
"""
_ERASED: Final = "SELECT customer_hash, sequence FROM changes WHERE customer_hash <> ''"
_LAST: Final = "SELECT max(event_time) FROM events"
_RECORDED: Final = """
    SELECT customer_id, name, record_time, value FROM attributes
    WHERE customer_id = ANY(%(customers)s::text[])
"""
_POINTERS: Final = "SELECT member_id, customer_id FROM pointers"


class PostgresEvents:
    """Implements ``EventReader``."""

    def __init__(self, url: str) -> None:
        """Take the URL of a database.

        Raises:
            Refused: it is none.
        """
        self._database = _Database(url, "features", "event store")
        self.name = self._database.name

    def events(
        self, *, types: Collection[str] | None = None, customers: Collection[str] | None = None
    ) -> Iterator[tuple[str, StoredEvent]]:
        """Yield (customer id, event) in the order of storing."""
        parameters = {"types": _listed(types), "customers": _listed(customers)}
        for row in self._database.rows(_EVENTS, parameters):
            yield rows.happened(self.name, row)

    def sequenced(self, customers: Collection[str]) -> Iterator[Sequenced]:
        """Yield the events of these ids with their sequences."""
        for sequence, *row in self._database.rows(_SEQUENCED, {"customers": _listed(customers)}):
            yield Sequenced(sequence, *rows.happened(self.name, tuple(row)))

    def erased(self) -> Iterator[tuple[str, int]]:
        """Yield whose events were erased."""
        yield from self._database.rows(_ERASED)

    def last_event_time(self) -> int | None:
        """Return the newest event time."""
        found: int | None = next(self._database.rows(_LAST))[0]
        return found


class PostgresProfiles:
    """Implements ``ProfileReader``."""

    def __init__(self, url: str) -> None:
        """Take the URL of a database.

        Raises:
            Refused: it is none.
        """
        self._database = _Database(url, "profile", "profile store")
        self.name = self._database.name

    def recorded(self, customers: Collection[str]) -> Iterator[Recorded]:
        """Yield every value that became known."""
        for row in self._database.rows(_RECORDED, {"customers": _listed(customers)}):
            yield rows.recorded(self.name, row)

    def pointers(self) -> Iterator[tuple[str, str]]:
        """Yield who was linked to whom."""
        yield from self._database.rows(_POINTERS)


class _Database:
    """Yields rows a few at once, each time on a connection of its own; errors do not say who may use it."""

    def __init__(self, url: str, service: str, what: str) -> None:
        try:
            given = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
        except psycopg.Error:
            # The error's own text may quote the password.
            raise Refused("PostgreSQL: the URL cannot be read") from None
        self.name = f"PostgreSQL {given.get('dbname') or ''}".rstrip()
        self._service = service
        self._what = what
        self._conninfo = make_conninfo("", **_DEFAULTS | given | {"client_encoding": "UTF8"})

    def rows(self, statement: str, parameters: Mapping[str, list[str] | None] | None = None) -> Iterator[Any]:
        try:
            with closing(psycopg.connect(self._conninfo)) as connection:
                connection.read_only = True
                connection.execute(_NAMES, (self._service,))
                with connection.cursor("rows") as cursor:
                    cursor.itersize = _ROWS_AT_ONCE
                    cursor.execute(statement, parameters)
                    yield from cursor
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise Refused(f"{self.name} is no {self._what}: {error.diag.message_primary}") from None
        except psycopg.Error as error:
            raise Refused(f"{self.name} cannot be read as {self._what}: {_said(error)}") from None


def _listed(items: Collection[str] | None) -> list[str] | None:
    return None if items is None else list(items)


def _said(error: psycopg.Error) -> str:
    if (error.sqlstate or "")[:2] in _QUOTING:
        return type(error).__name__
    # The library's own words begin with the address, once for each that was tried.
    return error.diag.message_primary or str(error).partition("\n")[0].rpartition("failed: ")[2]
