"""The contact ledger in PostgreSQL, in the same database as the decisions that reserve.

Whoever changes what a customer's ledger holds first takes the lock on that customer's row in ``ledgers``,
of several customers in the order of their ids, and moves its version on in the same transaction. So at READ
COMMITTED, where each statement sees what was committed before it, what is read under the locks is
the latest and stays so until the commit, and a version that is found there stands for all that was
read with it in one statement at any time before. As everybody takes these locks before any other that may
be waited for, but for the new row of a decision, and in the same order, nobody waits in a circle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from services.chassis.postgres import Connection
from services.gateway.adapters.ledger_rows import ContactRow, contact_row, reading_of, standing_at
from services.gateway.domain.ledger import Claim, Reading, Standing
from services.gateway.ports import DecisionErased, LedgerMoved

# One statement sees one state of the database. What is dated before its decision happened with it.
_READ: Final = """
    SELECT (
        SELECT coalesce(json_agg(json_build_array(customer_id, version)), '[]')
        FROM ledgers WHERE customer_id = ANY(%(members)s)
    ), (
        SELECT coalesce(json_agg(
            json_build_array(offers, rank, reserve_time, expire_time, consume_time, release_time)
            ORDER BY coalesce(consume_time, reserve_time) NULLS FIRST, decision_id, rank), '[]')
        FROM contacts JOIN decisions USING (decision_id)
        WHERE contacts.customer_id = ANY(%(members)s) AND last_time >= %(since)s
    ), (
        SELECT coalesce(json_agg(
            json_build_array(offers, rank, kind, outcome_time) ORDER BY outcome_time, outcome_id), '[]')
        FROM outcomes JOIN decisions USING (decision_id)
        WHERE outcomes.customer_id = ANY(%(members)s)
            AND (outcome_time >= %(since)s OR decisions.record_time >= %(since)s)
    )
"""
_OWNERS: Final = "SELECT DISTINCT customer_id FROM decisions WHERE decision_id = ANY(%s)"
_STANDING: Final = """
    SELECT decisions.customer_id, offers, reserve_time, expire_time, consume_time, release_time,
           claim_id, claim_time, claim_code, claim_text
    FROM decisions LEFT JOIN contacts ON contacts.decision_id = decisions.decision_id AND rank = %s
    WHERE decisions.decision_id = %s
"""
# A row is locked where it is met, whether it is updated or not.
_LOCK: Final = """
    INSERT INTO ledgers SELECT id, 0 FROM unnest(%s::text[]) AS id ORDER BY id COLLATE "C"
    ON CONFLICT (customer_id) DO UPDATE SET version = ledgers.version WHERE false
"""
_DROP: Final = "DELETE FROM ledgers WHERE customer_id = ANY(%s) AND version = 0"
_MOVE: Final = """
    INSERT INTO ledgers SELECT id, 1 FROM unnest(%s::text[]) AS id ORDER BY id COLLATE "C"
    ON CONFLICT (customer_id) DO UPDATE SET version = ledgers.version + 1
    RETURNING customer_id, version
"""
_PUT: Final = """
    INSERT INTO contacts
    SELECT row ->> 0, (row ->> 1)::integer, row ->> 2, (row ->> 3)::bigint, (row ->> 4)::bigint,
           (row ->> 5)::bigint, (row ->> 6)::bigint, row ->> 7, (row ->> 8)::bigint, row ->> 9, row ->> 10,
           (row ->> 11)::bigint
    FROM jsonb_array_elements(%s::jsonb) AS row
    ON CONFLICT (decision_id, rank) DO UPDATE SET
        consume_time = excluded.consume_time, release_time = excluded.release_time,
        claim_id = excluded.claim_id, claim_time = excluded.claim_time,
        claim_code = excluded.claim_code, claim_text = excluded.claim_text, last_time = excluded.last_time
"""
# In the order of their ids, as every lock, and after those of ledgers; what is known already takes none.
_KEEP: Final = """
    INSERT INTO families
    SELECT id, %(customer_id)s, %(version)s FROM unnest(%(members)s::text[]) AS id
    WHERE NOT EXISTS (SELECT FROM families WHERE member_id = id AND identity_version >= %(version)s)
    ORDER BY id COLLATE "C"
    ON CONFLICT (member_id) DO UPDATE SET
        customer_id = excluded.customer_id, identity_version = excluded.identity_version
        WHERE families.identity_version < excluded.identity_version
"""
# Whoever is left at an earlier act was not seen since.
_FAMILY: Final = """
    SELECT member_id FROM families WHERE (customer_id, identity_version) =
        (SELECT customer_id, identity_version FROM families WHERE member_id = %s)
    ORDER BY member_id
"""


async def keep(connection: Connection, members: Sequence[str], customer_id: str, version: int) -> None:
    """Keep who was one customer as of an act, unless a later one is known of a member."""
    parameters = {"members": list(members), "customer_id": customer_id, "version": version}
    await connection.execute(_KEEP, parameters)


async def family(connection: Connection, customer_id: str) -> list[str]:
    """Return who was one with a customer, as it was kept last."""
    found = await connection.execute(_FAMILY, (customer_id,))
    return [member for (member,) in await found.fetchall()] or [customer_id]


async def read(connection: Connection, members: Sequence[str], since: int) -> Reading:
    """Read what members share."""
    found = await connection.execute(_READ, {"members": list(members), "since": since})
    versions, contacts, responses = await found.fetchone() or ((), (), ())
    return reading_of(members, versions, contacts, responses)


async def standing(connection: Connection, decision_id: str, rank: int) -> Standing | None:
    """Return what the ledger holds of one ranked action of a live decision."""
    found = await connection.execute(_STANDING, (rank, decision_id))
    return standing_at(rank, await found.fetchone())


async def lock(connection: Connection, members: Iterable[str]) -> None:
    """Let nobody else change the ledgers of members until the transaction ends."""
    await connection.execute(_LOCK, (list(members),))


async def drop_unused(connection: Connection, members: Iterable[str]) -> None:
    """Delete the ledgers of members that were made for a lock only; who waits for it still does."""
    await connection.execute(_DROP, (list(members),))


async def owners(connection: Connection, decision_ids: Iterable[str]) -> set[str]:
    """Return whose live decisions these are; once their ledgers are locked, nobody can erase them."""
    found = await connection.execute(_OWNERS, (list(decision_ids),))
    return {owner for (owner,) in await found.fetchall()}


async def advance(connection: Connection, versions: Mapping[str, int]) -> None:
    """Lock the ledgers of members and move them on, each from its version.

    Raises:
        LedgerMoved: one has another version; the transaction must be undone.
    """
    if await move(connection, versions) != {member: version + 1 for member, version in versions.items()}:
        raise LedgerMoved


async def move(connection: Connection, members: Iterable[str]) -> dict[str, int]:
    """Lock the ledgers of members and move them on; return their new versions."""
    moved = await connection.execute(_MOVE, (list(members),))
    return dict(await moved.fetchall())


async def put(connection: Connection, rows: Sequence[ContactRow]) -> None:
    """Write contacts of ledgers that are locked, over what is there of them."""
    await connection.execute(_PUT, (json.dumps(rows, ensure_ascii=False),))


async def claim(
    connection: Connection, decision_id: str, rank: int, claim: Claim, versions: Mapping[str, int]
) -> Claim:
    """Write the first verdict on a claim, or return the one that stands."""
    await lock(connection, {*versions, *await owners(connection, [decision_id])})
    before = await standing(connection, decision_id, rank)
    if before is None:
        raise DecisionErased
    if before.claim is not None:
        return before.claim
    await advance(connection, versions)
    await put(connection, [contact_row(decision_id, rank, before.claimed(claim))])
    return claim
