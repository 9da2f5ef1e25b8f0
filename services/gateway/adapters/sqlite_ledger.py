"""The contact ledger in SQLite, in the same file as the decisions that reserve."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from services.gateway.adapters.ledger_rows import ContactRow, contact_row, reading_of, standing_at
from services.gateway.domain.ledger import Claim, Reading, Standing
from services.gateway.ports import DecisionErased, LedgerMoved

_VERSIONS: Final = (
    "SELECT customer_id, version FROM ledgers WHERE customer_id IN (SELECT value FROM json_each(?))"
)
_CONTACTS: Final = """
    SELECT decisions.offers, contacts.rank, reserve_time, expire_time, consume_time, release_time
    FROM contacts JOIN decisions USING (decision_id)
    WHERE contacts.customer_id IN (SELECT value FROM json_each(?)) AND last_time >= ?
    ORDER BY coalesce(consume_time, reserve_time), decision_id, rank
"""
# What is dated before its decision happened with it.
_RESPONSES: Final = """
    SELECT decisions.offers, rank, kind, outcome_time
    FROM outcomes JOIN decisions USING (decision_id)
    WHERE outcomes.customer_id IN (SELECT value FROM json_each(?))
        AND (outcome_time >= ? OR decisions.record_time >= ?)
    ORDER BY outcome_time, outcome_id
"""
_STANDING: Final = """
    SELECT decisions.customer_id, offers, reserve_time, expire_time, consume_time, release_time,
           claim_id, claim_time, claim_code, claim_text
    FROM decisions LEFT JOIN contacts ON contacts.decision_id = decisions.decision_id AND rank = ?
    WHERE decisions.decision_id = ?
"""
# One JSON value for all rows: see sqlite_log.py.
_PUT: Final = f"""
    INSERT INTO contacts SELECT {", ".join(f"json_extract(value, '$[{column}]')" for column in range(12))}
    FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET
        consume_time = excluded.consume_time, release_time = excluded.release_time,
        claim_id = excluded.claim_id, claim_time = excluded.claim_time,
        claim_code = excluded.claim_code, claim_text = excluded.claim_text, last_time = excluded.last_time
"""  # noqa: S608 - of column numbers only
_MOVE: Final = """
    INSERT INTO ledgers SELECT value, 1 FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET version = version + 1
"""
_KEEP: Final = """
    INSERT INTO families SELECT value, ?2, ?3 FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET customer_id = excluded.customer_id, identity_version = excluded.identity_version
        WHERE identity_version < excluded.identity_version
"""
# Whoever is left at an earlier act was not seen since.
_FAMILY: Final = """
    SELECT member_id FROM families WHERE (customer_id, identity_version) =
        (SELECT customer_id, identity_version FROM families WHERE member_id = ?)
    ORDER BY member_id
"""


def keep(connection: sqlite3.Connection, members: Sequence[str], customer_id: str, version: int) -> None:
    """Keep who was one customer as of an act, unless a later one is known of a member."""
    connection.execute(_KEEP, (json.dumps(list(members)), customer_id, version))


def family(connection: sqlite3.Connection, customer_id: str) -> list[str]:
    """Return who was one with a customer, as it was kept last."""
    found = [member for (member,) in connection.execute(_FAMILY, (customer_id,)).fetchall()]
    return found or [customer_id]


def read(connection: sqlite3.Connection, members: Sequence[str], since: int) -> Reading:
    """Read what members share; the versions first, so that they are never newer than the rest."""
    asked = json.dumps(list(members))
    versions = connection.execute(_VERSIONS, (asked,)).fetchall()
    contacts = connection.execute(_CONTACTS, (asked, since)).fetchall()
    responses = connection.execute(_RESPONSES, (asked, since, since)).fetchall()
    return reading_of(members, versions, contacts, responses)


def standing(connection: sqlite3.Connection, decision_id: str, rank: int) -> Standing | None:
    """Return what the ledger holds of one ranked action of a live decision."""
    return standing_at(rank, connection.execute(_STANDING, (rank, decision_id)).fetchone())


def advance(connection: sqlite3.Connection, versions: Mapping[str, int]) -> None:
    """Move the ledgers of members on, each from its version.

    Raises:
        LedgerMoved: one has another version.
    """
    asked = json.dumps(list(versions))
    if dict.fromkeys(versions, 0) | dict(connection.execute(_VERSIONS, (asked,)).fetchall()) != versions:
        raise LedgerMoved
    move(connection, versions)


def move(connection: sqlite3.Connection, members: Collection[str]) -> None:
    """Move the ledgers of members on, whatever their versions."""
    connection.execute(_MOVE, (json.dumps(sorted(members)),))


def put(connection: sqlite3.Connection, rows: Sequence[ContactRow]) -> None:
    """Write contacts, over what is there of them."""
    connection.execute(_PUT, (json.dumps(rows, ensure_ascii=False),))


def claim(
    connection: sqlite3.Connection, decision_id: str, rank: int, claim: Claim, versions: Mapping[str, int]
) -> Claim:
    """Write the first verdict on a claim, or return the one that stands."""
    before = standing(connection, decision_id, rank)
    if before is None:
        raise DecisionErased
    if before.claim is not None:
        return before.claim
    advance(connection, versions)
    put(connection, [contact_row(decision_id, rank, before.claimed(claim))])
    return claim
