"""The tables of every kind of store, in an order in which rows can be put back."""

from __future__ import annotations

from typing import Final

from services.chassis.tables import Table

TABLES: Final = (
    Table(name="customers", columns=("customer_id",), key=("customer_id",), owners=("customer_id",)),
    Table(
        name="identities",
        columns=("kind", "value", "customer_id"),
        key=("kind", "value"),
        owners=("customer_id",),
        hidden=frozenset({"value"}),
    ),
    Table(
        name="attributes",
        columns=("customer_id", "name", "record_time", "value", "source"),
        key=("customer_id", "name", "record_time"),
        numbers=frozenset({"record_time"}),
        owners=("customer_id",),
    ),
    Table(
        name="consents",
        columns=(
            "sequence",
            "receipt_id",
            "customer_id",
            "purpose",
            "channel",
            "state",
            "stated_time",
            "expire_time",
            "source",
            "record_time",
        ),
        key=("sequence",),
        numbers=frozenset({"sequence", "record_time", "stated_time", "expire_time"}),
        owners=("customer_id",),
        identity="sequence",
    ),
    Table(
        name="links",
        columns=(
            "sequence",
            "link_id",
            "said_customer_id",
            "said_member_id",
            "is_unlink",
            "source",
            "record_time",
            "customer_id",
            "member_id",
        ),
        key=("sequence",),
        numbers=frozenset({"sequence", "is_unlink", "record_time"}),
        owners=("customer_id", "member_id", "said_customer_id", "said_member_id"),
    ),
    Table(
        name="memberships",
        columns=("member_id", "customer_id", "sequence"),
        key=("member_id",),
        numbers=frozenset({"sequence"}),
        owners=("member_id", "customer_id"),
        greatest="sequence",
        refers=True,
    ),
    Table(
        name="counter",
        columns=("one", "newest"),
        key=("one",),
        numbers=frozenset({"one", "newest"}),
        greatest="newest",
    ),
    Table(
        name="erasures",
        columns=("customer_hash", "erase_time"),
        key=("customer_hash",),
        numbers=frozenset({"erase_time"}),
        greatest="erase_time",
    ),
)
