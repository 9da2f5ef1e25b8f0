"""Who is one customer, in the same database as the profiles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final
from zlib import crc32

from services.chassis.postgres import Connection
from services.profile.adapters import postgres_statements as statements
from services.profile.adapters.rows import consent_of, link_of, link_row
from services.profile.domain.consents import Consent
from services.profile.domain.identities import CustomerKey, Identity
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

_LOCK: Final = crc32(b"tact profile families")


async def beside(connection: Connection) -> None:
    """Wait until who is one customer does not change before the end of the transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_LOCK,))


async def alone(connection: Connection) -> None:
    """Wait until nobody else writes before the end of the transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def asking(keys: Sequence[CustomerKey]) -> dict[str, list[str | None]]:
    """Return the parameters of statements that ask for customers."""
    pairs = [key if isinstance(key, Identity) else (None, None) for key in keys]
    return {
        "ids": [None if isinstance(key, Identity) else key for key in keys],
        "kinds": [kind for kind, _ in pairs],
        "values": [value for _, value in pairs],
    }


def family_of(root: str, members: Sequence[str], version: int) -> Family:
    """Return the family that a statement found."""
    return Family(customer_id=root, members=ordered(members), version=version)


async def put(
    connection: Connection, linking: Linking, record: Callable[[Sequence[Consent]], Awaitable[None]]
) -> Linked:
    """Put an act on file, with the consents that it makes stricter, which ``record`` appends.

    Nobody else must write meanwhile.
    """
    row = await (await connection.execute(statements.LINK, (linking.link_id,))).fetchone()
    known = None if row is None else link_of(row)
    ours, theirs = await _families(connection, linking.customer_id, linking.member_id)
    answer, act = settle(linking, known, ours, theirs)
    if act is None:
        return Linked(answer=answer)
    together: Sequence[Consent] = ()
    if answer is LinkAnswer.NEW:
        if linking.is_unlink:
            together = await consents_of(connection, act.customer_id)
        else:
            roots = (act.customer_id, act.member_id)
            said, other = [await consents_of(connection, root) for root in roots]
            await record(stricter(linking, said, other, roots))
        await connection.execute(statements.INSERT_LINK, link_row(act))
        await connection.execute(statements.POINT, (act.member_id, act.linked_to))
    family, left = await _families(connection, act.customer_id, act.member_id)
    if together and family and left:
        await record(still_strict(linking, together, (family, left)))
    return Linked(answer=answer, family=family, left=left if act.linking.is_unlink else None)


async def untangle(connection: Connection, customer_ids: Collection[str]) -> None:
    """End memberships of these customers that a later act shows to be over, after rows were put back."""
    await connection.execute(statements.UNTANGLE, (list(customer_ids),))


async def consents_of(connection: Connection, customer_id: str) -> list[Consent]:
    """Return what a customer said, over all members, in the order of arrival."""
    found = await connection.execute(statements.CONSENTS, asking([customer_id]))
    return list(map(consent_of, await found.fetchall()))


async def related(connection: Connection, customer_id: str) -> list[LinkRecord]:
    """Return every act that a customer, or who was ever linked to it, had a part in, in order."""
    found = await connection.execute(statements.RELATED, asking([customer_id]))
    return list(map(link_of, await found.fetchall()))


async def _families(connection: Connection, *customer_ids: str) -> list[Family | None]:
    found = await connection.execute(statements.FAMILIES, asking(customer_ids))
    families = {n: family_of(*row) for n, *row in await found.fetchall()}
    return [families.get(n) for n in range(1, len(customer_ids) + 1)]
