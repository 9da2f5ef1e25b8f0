-- Of an erased decision only its id stays, so that nobody decides twice under it.
CREATE TABLE erased_decisions (
    decision_id TEXT COLLATE "C" PRIMARY KEY,
    erase_time BIGINT NOT NULL
);

-- Who was erased, as the SHA-256 of the customer's id.
CREATE TABLE erasures (
    customer_hash TEXT COLLATE "C" PRIMARY KEY,
    erase_time BIGINT NOT NULL
);
