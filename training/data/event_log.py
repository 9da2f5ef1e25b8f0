"""What happened and what was on file, read from the services' own SQLite files.

The tables are a contract with the feature and the profile service; a test compares vectors made
here with vectors that the services serve.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from services.engine.features.history import History, StoredEvent
from services.engine.playbook import values
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.values import Value
from training.refusal import Refused


def read_events(path: Path, types: Collection[str] | None = None) -> Iterator[tuple[str, StoredEvent]]:
    """Yield (customer id, event) of the feature service's store, all types where ``types`` is None.

    Raises:
        Refused: the file is missing or is no event store.
    """
    with _rows(path, "SELECT customer_id, event_id, type, event_time, attributes FROM events") as rows:
        for customer_id, event_id, kind, event_time, attributes in rows:
            if types is None or kind in types:
                yield (
                    customer_id,
                    StoredEvent(
                        event_id=event_id,
                        type=kind,
                        event_time=event_time,
                        attributes=json.loads(attributes),
                    ),
                )


def last_event_time(path: Path) -> int | None:
    """Return the newest event time in microseconds, None where no event is stored.

    Raises:
        Refused: the file is missing or is no event store.
    """
    with _rows(path, "SELECT max(event_time) FROM events") as rows:
        found: int | None = next(rows)[0]
    return found


def read_histories(path: Path, customers: Collection[str]) -> Mapping[str, History]:
    """Return the histories of the customers; an unknown one has an empty history.

    Raises:
        Refused: the file is missing or is no event store.
    """
    events: dict[str, list[StoredEvent]] = {customer: [] for customer in customers}
    for customer, event in read_events(path):
        if customer in events:
            events[customer].append(event)
    return {customer: History(found) for customer, found in events.items()}


class ProfileLog:
    """Attribute values by the time at which they became known."""

    def __init__(self, path: Path, playbook: Playbook) -> None:
        """Read the profile service's store.

        Raises:
            Refused: the file is missing or is no profile store.
        """
        self._declared = playbook.profile.attributes
        self._history: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self._names: dict[str, set[str]] = {}
        query = "SELECT customer_id, name, record_time, value FROM attributes ORDER BY record_time"
        with _rows(path, query) as rows:
            for customer, name, record_time, value in rows:
                self._history.setdefault((customer, name), []).append((record_time, json.loads(value)))
                self._names.setdefault(customer, set()).add(name)

    def as_of(self, customer: str, time: int) -> dict[str, Value]:
        """Return the attributes recorded before ``time``, in microseconds since 1970."""
        found = {}
        for name in self._names.get(customer, ()):
            history = self._history[customer, name]
            index = bisect_left(history, time, key=lambda entry: entry[0])
            if index == 0 or (raw := history[index - 1][1]) is None or name not in self._declared:
                continue
            try:
                found[name] = values.parse(self._declared[name], raw)
            except ValueError:
                # Recorded under an older declaration: missing, as it is to the gateway.
                continue
        return found


@contextmanager
def _rows(path: Path, query: str) -> Iterator[Iterator[Any]]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            yield connection.execute(query)
    except sqlite3.Error as error:
        raise Refused(f"{path} cannot be read: {error}") from None
