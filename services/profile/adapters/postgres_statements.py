"""The SQL of profiles in PostgreSQL.

Batches go in and come out in one statement. Rows that others may write at the same moment are met in the
order of their keys, so that nobody waits in a circle.
"""

# Made of constants only.
# ruff: noqa: S608

from __future__ import annotations

from typing import Final

# Customers by id or identity, n counting what was asked from 1: the root of each and all its members.
_FAMILIES: Final = """
    WITH RECURSIVE asked AS (
        SELECT n, coalesce(id, (SELECT customer_id FROM identities WHERE kind = k AND value = v)) AS id
        FROM unnest(%(ids)s::text[], %(kinds)s::text[], %(values)s::text[])
            WITH ORDINALITY AS key (id, k, v, n)
    ), up AS (
        SELECT n, customer_id AS id FROM asked JOIN customers ON customer_id = asked.id
        UNION SELECT n, pointers.customer_id FROM up JOIN pointers ON member_id = up.id
    ), roots AS (
        SELECT n, id FROM up WHERE NOT EXISTS (SELECT FROM pointers WHERE member_id = up.id)
    ), down AS (
        SELECT n, id AS root, id FROM roots
        UNION SELECT n, root, member_id FROM down JOIN pointers ON pointers.customer_id = down.id
    ), families AS (
        SELECT n, root, array_agg(id) AS members FROM down GROUP BY n, root
    )
"""
ROOTS: Final = f"{_FAMILIES} SELECT n, id FROM roots"
# OFFSET keeps the server from looking for the greatest number among all links, from behind.
_VERSION: Final = """
    (SELECT coalesce(max(sequence), 0) FROM (
        SELECT sequence FROM links WHERE customer_id = ANY(members) OR member_id = ANY(members) OFFSET 0
    ) AS theirs)
"""
FAMILIES: Final = f"{_FAMILIES} SELECT n, root, members, {_VERSION} FROM families"
_SAID: Final = """
    receipt_id, customer_id, purpose, channel, state, stated_time, expire_time, source, record_time
"""
# One statement sees one state of the database. JSON is taken as text, to be read customer by customer.
PROFILES: Final = f"""
    {_FAMILIES} SELECT n, root, members, {_VERSION}, (
        SELECT coalesce(json_agg(json_build_array(name, value, source, record_time)), '[]') FROM (
            SELECT DISTINCT ON (name) name, value, source, record_time FROM attributes
            WHERE customer_id = ANY(members) AND record_time < %(end)s
            ORDER BY name, record_time DESC, customer_id <> root, customer_id
        ) AS newest
    )::text, (
        SELECT coalesce(json_agg(json_build_array({_SAID}) ORDER BY sequence), '[]') FROM consents
        WHERE customer_id = ANY(members) AND record_time < %(end)s
    )::text
    FROM families
"""
CONSENTS: Final = f"""
    {_FAMILIES} SELECT {_SAID} FROM consents
    WHERE customer_id IN (SELECT unnest(members) FROM families) ORDER BY sequence
"""
_LINK: Final = """
    SELECT link_id, said_customer_id, said_member_id, is_unlink, source, record_time, customer_id, member_id
    FROM links
"""
LINK: Final = f"{_LINK} WHERE link_id = %s"
RELATED: Final = f"""
    {_FAMILIES}, known AS (
        SELECT unnest(members) AS id FROM families
        UNION
        SELECT CASE WHEN customer_id = known.id THEN member_id ELSE customer_id END
        FROM links JOIN known ON customer_id = known.id OR member_id = known.id
    )
    {_LINK} WHERE member_id IN (SELECT id FROM known) ORDER BY sequence
"""
OWNERS: Final = """
    SELECT kind, value, customer_id FROM identities
    JOIN unnest(%s::text[], %s::text[]) AS asked (kind, value) USING (kind, value)
"""
INSERT_CUSTOMERS: Final = """
    INSERT INTO customers SELECT id FROM unnest(%s::text[]) AS id ORDER BY id COLLATE "C"
    ON CONFLICT DO NOTHING
"""
INSERT_IDENTITIES: Final = """
    INSERT INTO identities SELECT row ->> 0, row ->> 1, row ->> 2
    FROM jsonb_array_elements(%s::jsonb) AS row ORDER BY (row ->> 0) COLLATE "C", (row ->> 1) COLLATE "C"
    ON CONFLICT DO NOTHING
"""
INSERT_ATTRIBUTES: Final = """
    INSERT INTO attributes
    SELECT row ->> 0, row ->> 1, (row ->> 2)::bigint, row ->> 3, row ->> 4
    FROM jsonb_array_elements(%s::jsonb) AS row
    ORDER BY (row ->> 0) COLLATE "C", (row ->> 1) COLLATE "C", (row ->> 2)::bigint
    ON CONFLICT (customer_id, name, record_time) DO UPDATE
        SET value = excluded.value, source = excluded.source
        WHERE attributes.value <> excluded.value OR attributes.source <> excluded.source
"""
LOCK_FAMILIES: Final = """
    WITH RECURSIVE up AS (
        SELECT customer_id AS id FROM customers WHERE customer_id = ANY(%s)
        UNION SELECT pointers.customer_id FROM up JOIN pointers ON member_id = up.id
    )
    SELECT FROM customers WHERE customer_id = ANY(ARRAY(SELECT id FROM up))
        AND NOT EXISTS (SELECT FROM pointers WHERE member_id = customers.customer_id)
    ORDER BY customer_id FOR NO KEY UPDATE OF customers
"""
KNOWN_CUSTOMERS: Final = "SELECT customer_id FROM customers WHERE customer_id = ANY(%s)"
KNOWN_RECEIPTS: Final = f"SELECT {_SAID} FROM consents WHERE receipt_id = ANY(%s)"
# Numbered in the order of arrival, written in that of the receipts.
INSERT_CONSENTS: Final = f"""
    INSERT INTO consents (sequence, {_SAID})
    SELECT sequence, row ->> 0, row ->> 1, row ->> 2, row ->> 3, row ->> 4, (row ->> 5)::bigint,
           (row ->> 6)::bigint, row ->> 7, (row ->> 8)::bigint
    FROM (
        SELECT nextval('consents_sequence_seq') AS sequence, row FROM jsonb_array_elements(%s::jsonb) AS row
    ) AS numbered
    ORDER BY (row ->> 0) COLLATE "C"
    ON CONFLICT DO NOTHING
"""
INSERT_LINK: Final = """
    WITH counted AS (UPDATE counter SET newest = newest + 1 RETURNING newest)
    INSERT INTO links
        (sequence,
         link_id, said_customer_id, said_member_id, is_unlink, source, record_time, customer_id, member_id)
    SELECT newest, %s, %s, %s, %s, %s, %s, %s, %s FROM counted
"""
# By the act that was counted last.
POINT: Final = """
    INSERT INTO memberships SELECT %s, %s, newest FROM counter
    ON CONFLICT (member_id) DO UPDATE SET customer_id = excluded.customer_id, sequence = excluded.sequence
"""
# Whoever others become members of is a member of nobody at that moment.
UNTANGLE: Final = """
    UPDATE memberships SET customer_id = NULL
    WHERE member_id = ANY(%s) AND customer_id IS NOT NULL AND EXISTS (
        SELECT FROM memberships AS later
        WHERE later.customer_id = memberships.member_id AND later.sequence >= memberships.sequence
    )
"""
# A pointer of which only one end is named.
APART: Final = """
    SELECT 1 FROM pointers WHERE member_id = ANY(%(ids)s) AND customer_id <> ALL(%(ids)s)
    UNION ALL
    SELECT 1 FROM pointers WHERE customer_id = ANY(%(ids)s) AND member_id <> ALL(%(ids)s)
    LIMIT 1
"""
LOCK_ERASURES: Final = "LOCK TABLE erasures IN ROW EXCLUSIVE MODE"
INSERT_ERASURES: Final = """
    INSERT INTO erasures SELECT digest, %s FROM unnest(%s::text[]) AS digest
    ON CONFLICT (customer_hash) DO UPDATE SET erase_time = greatest(erasures.erase_time, excluded.erase_time)
"""
