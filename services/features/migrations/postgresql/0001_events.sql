-- The same tables as in SQLite. Times are microseconds since 1970. What callers name is compared and
-- sorted byte by byte, as everywhere else.
-- Names of its own, beside other services in one database.
CREATE SCHEMA features;

CREATE TABLE events (
    sequence BIGINT PRIMARY KEY,
    event_id TEXT COLLATE "C" NOT NULL UNIQUE,
    customer_id TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    event_time BIGINT NOT NULL,
    -- JSON with sorted names.
    attributes TEXT NOT NULL
);
CREATE INDEX events_by_customer ON events (customer_id, sequence);

-- One row: the newest sequence, of an event, an erasure or an import. None is ever given twice. Its row is
-- also the lock under which sequences are given, so that they are committed in their order.
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    newest BIGINT NOT NULL
);
INSERT INTO counter VALUES (1, 0);

-- The newest act about a customer that was no new event. The empty hash stands for all customers.
CREATE TABLE changes (
    customer_hash TEXT COLLATE "C" PRIMARY KEY,
    sequence BIGINT NOT NULL
);

-- Who was erased, and when.
CREATE TABLE erasures (
    customer_hash TEXT COLLATE "C" PRIMARY KEY,
    erase_time BIGINT NOT NULL
);

-- One row: what tells this store from every other. It stays behind when rows move elsewhere.
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store_id TEXT NOT NULL
);
INSERT INTO store VALUES (1, substr(md5(gen_random_uuid()::text), 1, 16));
