-- AUTOINCREMENT: a sequence is never given twice, even if the newest events are erased.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    customer_id TEXT NOT NULL,
    type TEXT NOT NULL,
    event_time INTEGER NOT NULL,
    attributes TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_customer ON events (customer_id);
