"""Rows of the feature and the profile service's tables, the same in every kind of store."""

from __future__ import annotations

import json
from typing import Any

from services.engine.features.history import StoredEvent, plain
from training.data.ports import Recorded
from training.refusal import Refused


def happened(store: str, row: tuple[Any, ...]) -> tuple[str, StoredEvent]:
    """Return (customer id, event).

    Raises:
        Refused: ``store`` holds attributes that are none.
    """
    customer_id, event_id, kind, event_time, attributes = row
    try:
        values = plain(_parsed(store, attributes))
    except ValueError:
        raise Refused(f"{store} cannot be read: the attributes of event {event_id} are none") from None
    return customer_id, StoredEvent(event_id=event_id, type=kind, event_time=event_time, attributes=values)


def recorded(store: str, row: tuple[Any, ...]) -> Recorded:
    """Return what became known.

    Raises:
        Refused: ``store`` holds a value that is no JSON.
    """
    customer_id, name, record_time, value = row
    return Recorded(customer_id, name, record_time, _parsed(store, value))


def _parsed(store: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Refused(f"{store} cannot be read: something in it is no JSON") from None
