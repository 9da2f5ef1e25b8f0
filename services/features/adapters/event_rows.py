"""Rows of events, the same in every kind of store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from sys import intern
from typing import Any

from services.engine.features.history import StoredEvent, plain
from services.features.domain.events import Event


def parsed(rows: Sequence[tuple[str, str, int, str]]) -> list[StoredEvent]:
    """Return events of rows of id, type, time and attributes.

    Raises:
        ValueError, TypeError: attributes are not what was stored.
    """
    attributes = json.loads(f"[{','.join(text for *_, text in rows)}]")
    return [
        stored(event_id, event_type, event_time, named)
        for (event_id, event_type, event_time, _), named in zip(rows, attributes, strict=True)
    ]


def stored(event_id: str, event_type: str, event_time: int, attributes: object) -> StoredEvent:
    """Return an event that shares the names in it with all others that are held.

    Raises:
        ValueError: attributes are none.
    """
    return StoredEvent(
        event_id=event_id,
        type=intern(event_type),
        event_time=event_time,
        attributes={intern(name): value for name, value in plain(attributes).items()},
    )


def known_events(rows: Iterable[Sequence[Any]]) -> dict[str, tuple[int, Event]]:
    """Return stored events with their sequences by id, of rows of all columns, the id first."""
    return {
        event_id: (
            sequence,
            Event(
                event_id=event_id,
                customer_id=customer_id,
                type=event_type,
                event_time=event_time,
                attributes=attributes,
            ),
        )
        for event_id, sequence, customer_id, event_type, event_time, attributes in rows
    }
