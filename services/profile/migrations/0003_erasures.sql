-- Who was erased and when, by the SHA-256 of the id.
CREATE TABLE erasures (
    customer_hash TEXT PRIMARY KEY,
    erase_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- An erasure looks for all who are named.
CREATE INDEX links_by_said_customer ON links (said_customer_id);
CREATE INDEX links_by_said_member ON links (said_member_id);
