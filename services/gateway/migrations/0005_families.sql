-- Who was one customer in the newest live decision about a member, for the time when profiles are out of reach.
CREATE TABLE families (
    member_id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL,
    identity_version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX families_by_customer ON families (customer_id, identity_version);
