-- One row: the newest sequence, of an event, an erasure or an import. None is ever given twice.
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    newest INTEGER NOT NULL
) STRICT;
INSERT INTO counter SELECT 1, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0);

-- The newest act about a customer that was no new event. The empty hash stands for all customers.
CREATE TABLE changes (
    customer_hash TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who was erased, and when.
CREATE TABLE erasures (
    customer_hash TEXT PRIMARY KEY,
    erase_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: what tells this store from every other. It stays behind when rows move elsewhere.
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store_id TEXT NOT NULL
) STRICT;
INSERT INTO store VALUES (1, lower(hex(randomblob(8))));
