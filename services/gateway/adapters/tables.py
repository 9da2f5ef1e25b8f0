"""The tables of the gateway's store, the same in SQLite and in PostgreSQL.

They come in an order in which rows can be put back: what others refer to comes first.
"""

from __future__ import annotations

from typing import Final

from services.chassis.tables import Table

_DECISION: Final = ("decision_id", "customer_id", "fingerprint", "record_time", "actions", "record")

TABLES: Final = (
    Table(
        name="decisions",
        columns=(*_DECISION, "offers"),
        key=("decision_id",),
        numbers=frozenset({"record_time", "actions"}),
        owners=("customer_id",),
        binary=frozenset({"record"}),
    ),
    Table(
        name="dry_run_decisions",
        columns=_DECISION,
        key=("decision_id",),
        numbers=frozenset({"record_time", "actions"}),
        owners=("customer_id",),
        binary=frozenset({"record"}),
    ),
    Table(
        name="outcomes",
        columns=(
            "outcome_id",
            "decision_id",
            "rank",
            "kind",
            "outcome_time",
            "measures",
            "instead_action_id",
            "actor_id",
            "record_time",
            "customer_id",
        ),
        key=("outcome_id",),
        numbers=frozenset({"rank", "outcome_time", "record_time"}),
        owners=("customer_id",),
    ),
    Table(
        name="contacts",
        columns=(
            "decision_id",
            "rank",
            "customer_id",
            "reserve_time",
            "expire_time",
            "consume_time",
            "release_time",
            "claim_id",
            "claim_time",
            "claim_code",
            "claim_text",
            "last_time",
        ),
        key=("decision_id", "rank"),
        numbers=frozenset(
            {"rank", "reserve_time", "expire_time", "consume_time", "release_time", "claim_time", "last_time"}
        ),
        owners=("customer_id",),
    ),
    # A version only ever grows, so that nobody takes one ledger for another.
    Table(
        name="ledgers",
        columns=("customer_id", "version"),
        key=("customer_id",),
        numbers=frozenset({"version"}),
        owners=("customer_id",),
        greatest="version",
    ),
    Table(
        name="families",
        columns=("member_id", "customer_id", "identity_version"),
        key=("member_id",),
        numbers=frozenset({"identity_version"}),
        owners=("member_id", "customer_id"),
        greatest="identity_version",
    ),
    # One row, which a gateway renews by itself: whichever is there already stays.
    Table(
        name="last_model",
        columns=("one", "description"),
        key=("one",),
        numbers=frozenset({"one"}),
        greatest="one",
    ),
    Table(
        name="erased_decisions",
        columns=("decision_id", "erase_time"),
        key=("decision_id",),
        numbers=frozenset({"erase_time"}),
        greatest="erase_time",
    ),
    Table(
        name="erasures",
        columns=("customer_hash", "erase_time"),
        key=("customer_hash",),
        numbers=frozenset({"erase_time"}),
        greatest="erase_time",
    ),
)
