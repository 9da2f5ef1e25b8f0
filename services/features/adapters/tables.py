"""The tables of events, the same in every kind of store."""

from __future__ import annotations

from typing import Final

from services.chassis.tables import Table

TABLES: Final = (
    Table(
        name="events",
        columns=("sequence", "event_id", "customer_id", "type", "event_time", "attributes"),
        key=("sequence",),
        numbers=frozenset({"sequence", "event_time"}),
        owners=("customer_id",),
    ),
    Table(
        name="counter",
        columns=("one", "newest"),
        key=("one",),
        numbers=frozenset({"one", "newest"}),
        greatest="newest",
    ),
    Table(
        name="changes",
        columns=("customer_hash", "sequence"),
        key=("customer_hash",),
        numbers=frozenset({"sequence"}),
        greatest="sequence",
    ),
    Table(
        name="erasures",
        columns=("customer_hash", "erase_time"),
        key=("customer_hash",),
        numbers=frozenset({"erase_time"}),
        greatest="erase_time",
    ),
)
EVERYBODY: Final = ""
"""The hash under which a change of all customers stands."""
