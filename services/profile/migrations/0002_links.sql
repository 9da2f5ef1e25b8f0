-- Who is a member of whom at present; a customer without a row is one of its own.
CREATE TABLE pointers (
    member_id TEXT PRIMARY KEY REFERENCES customers (customer_id),
    customer_id TEXT NOT NULL REFERENCES customers (customer_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX pointers_by_customer ON pointers (customer_id);

-- Every link and unlink. said_* is what the caller said, the others whom it came to be about.
CREATE TABLE links (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    link_id TEXT NOT NULL UNIQUE,
    said_customer_id TEXT NOT NULL,
    said_member_id TEXT NOT NULL,
    is_unlink INTEGER NOT NULL,
    source TEXT NOT NULL,
    record_time INTEGER NOT NULL,
    customer_id TEXT NOT NULL,
    member_id TEXT NOT NULL
) STRICT;
CREATE INDEX links_by_customer ON links (customer_id);
CREATE INDEX links_by_member ON links (member_id);
