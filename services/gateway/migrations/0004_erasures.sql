-- Of an erased decision only its id stays, so that nobody decides twice under it.
CREATE TABLE erased_decisions (
    decision_id TEXT PRIMARY KEY,
    erase_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who was erased, as the SHA-256 of the customer's id.
CREATE TABLE erasures (
    customer_hash TEXT PRIMARY KEY,
    erase_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
