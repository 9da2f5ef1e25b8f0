-- The same tables as in SQLite. Times are microseconds since 1970. What callers name is compared and
-- sorted byte by byte, as everywhere else.

-- Live and dry-run decisions are kept apart: only live ones have outcomes and train models.
CREATE TABLE decisions (
    decision_id TEXT COLLATE "C" PRIMARY KEY,
    customer_id TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT NOT NULL,
    record_time BIGINT NOT NULL,
    actions INTEGER NOT NULL,
    record BYTEA NOT NULL,
    -- What scopes ask of each ranked action, as adapters/ledger_rows.py writes it.
    offers TEXT NOT NULL
);
CREATE INDEX decisions_by_customer ON decisions (customer_id);
CREATE INDEX decisions_by_time ON decisions (record_time, decision_id);

CREATE TABLE dry_run_decisions (
    decision_id TEXT COLLATE "C" PRIMARY KEY,
    customer_id TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT NOT NULL,
    record_time BIGINT NOT NULL,
    actions INTEGER NOT NULL,
    record BYTEA NOT NULL
);
CREATE INDEX dry_run_decisions_by_customer ON dry_run_decisions (customer_id);
CREATE INDEX dry_run_decisions_by_time ON dry_run_decisions (record_time, decision_id);

CREATE TABLE outcomes (
    outcome_id TEXT COLLATE "C" PRIMARY KEY,
    decision_id TEXT COLLATE "C" NOT NULL REFERENCES decisions (decision_id),
    rank INTEGER NOT NULL,
    kind TEXT NOT NULL,
    outcome_time BIGINT NOT NULL,
    -- A JSON object of numbers by name.
    measures TEXT NOT NULL,
    instead_action_id TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    record_time BIGINT NOT NULL,
    customer_id TEXT COLLATE "C" NOT NULL
);
CREATE INDEX outcomes_by_decision ON outcomes (decision_id);
CREATE INDEX outcomes_by_customer ON outcomes (customer_id, outcome_time);

-- Each change of what a customer's ledger holds makes a new version of it. Its row is also the lock
-- under which the ledger is changed.
CREATE TABLE ledgers (
    customer_id TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL
);

CREATE TABLE contacts (
    decision_id TEXT COLLATE "C" NOT NULL REFERENCES decisions (decision_id),
    rank INTEGER NOT NULL,
    customer_id TEXT COLLATE "C" NOT NULL,
    reserve_time BIGINT,
    expire_time BIGINT,
    consume_time BIGINT,
    release_time BIGINT,
    claim_id TEXT,
    claim_time BIGINT,
    claim_code TEXT,
    claim_text TEXT,
    -- The last moment at which it can count: when it was taken, else when its reservation ends.
    last_time BIGINT NOT NULL,
    PRIMARY KEY (decision_id, rank)
);
CREATE INDEX contacts_by_customer ON contacts (customer_id, last_time);

-- One row: the last model that scoring described.
CREATE TABLE last_model (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    description TEXT NOT NULL
);
