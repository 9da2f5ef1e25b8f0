"""Who is one customer, in the same file as the profiles."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from services.profile.domain.consents import Consent
from services.profile.domain.links import (
    Family,
    LinkAnswer,
    Linked,
    Linking,
    LinkRecord,
    is_same,
    ordered,
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
_INSERT: Final = """
    INSERT INTO links
        (link_id, said_customer_id, said_member_id, is_unlink, source, record_time, customer_id, member_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


def family(connection: sqlite3.Connection, customer_id: str) -> Family | None:
    """Return who is one with a customer, None where nobody knows it."""
    row = connection.execute(_ROOT, (customer_id,)).fetchone()
    return None if row is None else _family(connection, row[0])


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
    if row is not None:
        known = _record(row)
        if not is_same(linking, known.linking):
            return Linked(answer=LinkAnswer.REUSED)
        return _told(connection, known, LinkAnswer.DUPLICATE)
    if linking.is_unlink:
        return _unlink(connection, linking)
    ours, theirs = (family(connection, key) for key in (linking.customer_id, linking.member_id))
    if ours is None or theirs is None:
        return Linked(answer=LinkAnswer.CUSTOMER_UNKNOWN)
    if ours == theirs:
        return Linked(answer=LinkAnswer.DUPLICATE, family=ours)
    roots = (ours.customer_id, theirs.customer_id)
    record(stricter(linking, consents_of(ours.members), consents_of(theirs.members), roots))
    connection.execute("INSERT INTO pointers VALUES (?, ?)", (theirs.customer_id, ours.customer_id))
    return _filed(connection, LinkRecord(linking=linking, customer_id=roots[0], member_id=roots[1]))


def related(connection: sqlite3.Connection, members: Sequence[str]) -> list[LinkRecord]:
    """Return every act that members, or who was ever linked to one, had a part in, in order."""
    return [_record(row) for row in connection.execute(_RELATED, (json.dumps(members),)).fetchall()]


def _unlink(connection: sqlite3.Connection, linking: Linking) -> Linked:
    before = family(connection, linking.member_id)
    if before is None:
        return Linked(answer=LinkAnswer.CUSTOMER_UNKNOWN)
    if before.customer_id == linking.member_id:
        return Linked(answer=LinkAnswer.NOT_LINKED)
    connection.execute("DELETE FROM pointers WHERE member_id = ?", (linking.member_id,))
    act = LinkRecord(linking=linking, customer_id=before.customer_id, member_id=linking.member_id)
    return _filed(connection, act)


def _filed(connection: sqlite3.Connection, act: LinkRecord) -> Linked:
    said = act.linking
    row = (said.link_id, said.customer_id, said.member_id, int(said.is_unlink), said.source, said.record_time)
    connection.execute(_INSERT, (*row, act.customer_id, act.member_id))
    return _told(connection, act, LinkAnswer.NEW)


def _told(connection: sqlite3.Connection, act: LinkRecord, answer: LinkAnswer) -> Linked:
    left = family(connection, act.member_id) if act.linking.is_unlink else None
    return Linked(answer=answer, family=family(connection, act.customer_id), left=left)


def _family(connection: sqlite3.Connection, root: str) -> Family:
    members = ordered(row[0] for row in connection.execute(_MEMBERS, (root,)).fetchall())
    (version,) = connection.execute(_VERSION, (json.dumps(members),)).fetchone()
    return Family(customer_id=root, members=members, version=version)


def _record(row: Sequence[Any]) -> LinkRecord:
    link_id, customer_id, member_id, is_unlink, source, record_time, about, member = row
    linking = Linking(
        link_id=link_id,
        customer_id=customer_id,
        member_id=member_id,
        is_unlink=bool(is_unlink),
        source=source,
        record_time=record_time,
    )
    return LinkRecord(linking=linking, customer_id=about, member_id=member)
