CREATE TABLE customers (
    customer_id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE identities (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    customer_id TEXT NOT NULL REFERENCES customers (customer_id),
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_by_customer ON identities (customer_id);

-- The whole history; a value is JSON, and null from the moment on at which it became missing.
CREATE TABLE attributes (
    customer_id TEXT NOT NULL REFERENCES customers (customer_id),
    name TEXT NOT NULL,
    record_time INTEGER NOT NULL,
    value TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (customer_id, name, record_time)
) STRICT, WITHOUT ROWID;

-- Receipts are never changed. stated_time is the caller's record_time, null where it gave none.
CREATE TABLE consents (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    receipt_id TEXT NOT NULL UNIQUE,
    customer_id TEXT NOT NULL REFERENCES customers (customer_id),
    purpose TEXT NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    record_time INTEGER NOT NULL,
    stated_time INTEGER,
    expire_time INTEGER,
    source TEXT NOT NULL
) STRICT;
CREATE INDEX consents_by_customer ON consents (customer_id, record_time);
