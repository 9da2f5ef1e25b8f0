"""Who is one customer, in the same file as the profiles."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from services.profile.adapters.rows import link_of, link_row
from services.profile.domain.consents import Consent
from services.profile.domain.links import (
    Family,
    LinkAnswer,
    Linked,
    Linking,
    LinkRecord,
    ordered,
    settle,
    still_strict,
    stricter,
)

_ROOT: Final = """
    WITH RECURSIVE up(id) AS (
        SELECT customer_id FROM customers WHERE customer_id = ?
        UNION SELECT pointers.customer_id FROM pointers JOIN up ON member_id = up.id
    )
    SELECT id FROM up WHERE id NOT IN (SELECT member_id FROM pointers)
"""
_MEMBERS: Final = """
    WITH RECURSIVE down(id) AS (
        VALUES (?) UNION SELECT member_id FROM pointers JOIN down ON customer_id = down.id
    )
    SELECT id FROM down
"""
_VERSION: Final = """
    SELECT coalesce(max(sequence), 0) FROM links
    WHERE customer_id IN (SELECT value FROM json_each(?1)) OR member_id IN (SELECT value FROM json_each(?1))
"""
_LINK: Final = """
    SELECT link_id, said_customer_id, said_member_id, is_unlink, source, record_time, customer_id, member_id
    FROM links
"""
_RELATED: Final = f"""
    WITH RECURSIVE known(id) AS (
        SELECT value FROM json_each(?)
        UNION
        SELECT CASE WHEN customer_id = known.id THEN member_id ELSE customer_id END
        FROM links JOIN known ON customer_id = known.id OR member_id = known.id
    )
    {_LINK} WHERE member_id IN (SELECT id FROM known) ORDER BY sequence
"""  # noqa: S608 - of constants only
_COUNT: Final = "UPDATE counter SET newest = newest + 1 RETURNING newest"
_INSERT: Final = """
    INSERT INTO links
        (sequence,
         link_id, said_customer_id, said_member_id, is_unlink, source, record_time, customer_id, member_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_POINT: Final = """
    INSERT INTO memberships VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET customer_id = excluded.customer_id, sequence = excluded.sequence
"""
# Whoever others become members of is a member of nobody at that moment.
_UNTANGLE: Final = """
    UPDATE memberships SET customer_id = NULL
    WHERE member_id IN (SELECT value FROM json_each(?)) AND customer_id IS NOT NULL AND EXISTS (
        SELECT 1 FROM memberships AS later
        WHERE later.customer_id = memberships.member_id AND later.sequence >= memberships.sequence
    )
"""


def root(connection: sqlite3.Connection, customer_id: str) -> str | None:
    """Return the customer that an id is a member of, itself where of none, None where nobody knows it."""
    row = connection.execute(_ROOT, (customer_id,)).fetchone()
    return None if row is None else str(row[0])


def family(connection: sqlite3.Connection, customer_id: str) -> Family | None:
    """Return who is one with a customer, None where nobody knows it."""
    if (found := root(connection, customer_id)) is None:
        return None
    members = ordered(row[0] for row in connection.execute(_MEMBERS, (found,)).fetchall())
    (version,) = connection.execute(_VERSION, (json.dumps(members),)).fetchone()
    return Family(customer_id=found, members=members, version=version)


def put(
    connection: sqlite3.Connection,
    linking: Linking,
    consents_of: Callable[[Sequence[str]], list[Consent]],
    record: Callable[[Iterable[Consent]], object],
) -> Linked:
    """Put an act on file, with the consents that it makes stricter.

    ``consents_of`` returns what members said in the order of arrival, ``record`` appends.
    """
    row = connection.execute(f"{_LINK} WHERE link_id = ?", (linking.link_id,)).fetchone()
    known = None if row is None else link_of(row)
    ours, theirs = (family(connection, key) for key in (linking.customer_id, linking.member_id))
    answer, act = settle(linking, known, ours, theirs)
    if act is None:
        return Linked(answer=answer)
    if answer is LinkAnswer.NEW:
        if ours and theirs and not linking.is_unlink:
            roots = (act.customer_id, act.member_id)
            record(stricter(linking, consents_of(ours.members), consents_of(theirs.members), roots))
        (sequence,) = connection.execute(_COUNT).fetchone()
        connection.execute(_INSERT, (sequence, *link_row(act)))
        connection.execute(_POINT, (act.member_id, act.linked_to, sequence))
    now = family(connection, act.customer_id)
    left = family(connection, act.member_id) if act.linking.is_unlink else None
    if answer is LinkAnswer.NEW and theirs and now and left:
        record(still_strict(linking, consents_of(theirs.members), (now, left)))
    return Linked(answer=answer, family=now, left=left)


def untangle(connection: sqlite3.Connection, customer_ids: Collection[str]) -> None:
    """End memberships of these customers that a later act shows to be over, after rows were put back."""
    connection.execute(_UNTANGLE, (json.dumps(list(customer_ids)),))


def related(connection: sqlite3.Connection, members: Sequence[str]) -> list[LinkRecord]:
    """Return every act that members, or who was ever linked to one, had a part in, in order."""
    return [link_of(row) for row in connection.execute(_RELATED, (json.dumps(members),)).fetchall()]
