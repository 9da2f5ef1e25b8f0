"""The SQL of profiles in SQLite.

Batches go in and come out as one JSON value of one statement. With a step for each row the writer
thread would have to win the interpreter's lock back from the event loop once a row.
"""

from __future__ import annotations

from typing import Final

OWNERS: Final = """
    SELECT json_group_array(json_array(i.kind, i.value, i.customer_id))
    FROM json_each(?) AS asked
    CROSS JOIN identities AS i
        ON i.kind = json_extract(asked.value, '$[0]') AND i.value = json_extract(asked.value, '$[1]')
"""
INSERT_CUSTOMERS: Final = """
    INSERT INTO customers SELECT value FROM json_each(?) WHERE true ON CONFLICT DO NOTHING
"""
INSERT_IDENTITIES: Final = """
    INSERT INTO identities
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
    FROM json_each(?)
"""
INSERT_ATTRIBUTES: Final = """
    INSERT INTO attributes
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]')
    FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET value = excluded.value, source = excluded.source
        WHERE attributes.value <> excluded.value OR attributes.source <> excluded.source
"""
KNOWN_CUSTOMERS: Final = """
    SELECT json_group_array(customer_id)
    FROM customers WHERE customer_id IN (SELECT value FROM json_each(?))
"""
KNOWN_RECEIPTS: Final = """
    SELECT json_group_array(json_array(receipt_id, customer_id, purpose, channel, state,
                                       stated_time, expire_time, source, record_time))
    FROM consents WHERE receipt_id IN (SELECT value FROM json_each(?))
"""
INSERT_CONSENTS: Final = """
    INSERT INTO consents (receipt_id, customer_id, purpose, channel, state,
                          stated_time, expire_time, source, record_time)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
           json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]')
    FROM json_each(?)
"""
OWNER: Final = "SELECT customer_id FROM identities WHERE kind = ? AND value = ?"
# Beside max(), SQLite takes the other columns from the row that holds the maximum.
ATTRIBUTES: Final = """
    SELECT name, value, source, max(record_time) FROM attributes
    WHERE customer_id = ? AND record_time < ? GROUP BY name
"""
CONSENTS: Final = """
    SELECT receipt_id, customer_id, purpose, channel, state,
           stated_time, expire_time, source, record_time
    FROM consents WHERE customer_id IN (SELECT value FROM json_each(?)) AND record_time < ? ORDER BY sequence
"""
# A pointer of which only one end is named.
APART: Final = """
    SELECT 1 FROM pointers WHERE member_id IN (SELECT value FROM json_each(?1))
        AND customer_id NOT IN (SELECT value FROM json_each(?1))
    UNION ALL
    SELECT 1 FROM pointers WHERE customer_id IN (SELECT value FROM json_each(?1))
        AND member_id NOT IN (SELECT value FROM json_each(?1))
    LIMIT 1
"""
INSERT_ERASURES: Final = """
    INSERT INTO erasures
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET erase_time = max(erase_time, excluded.erase_time)
"""
