-- What scopes ask of each ranked action of a live answer, as adapters/ledger_rows.py writes it; without
-- for decisions from before the ledger.
ALTER TABLE decisions ADD COLUMN offers TEXT NOT NULL DEFAULT '[]';

-- Each change of what a customer's ledger holds makes a new version of it.
CREATE TABLE ledgers (
    customer_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE contacts (
    decision_id TEXT NOT NULL REFERENCES decisions (decision_id),
    rank INTEGER NOT NULL,
    customer_id TEXT NOT NULL,
    reserve_time INTEGER,
    expire_time INTEGER,
    consume_time INTEGER,
    release_time INTEGER,
    claim_id TEXT,
    claim_time INTEGER,
    claim_code TEXT,
    claim_text TEXT,
    -- The last moment at which it can count: when it was taken, else when its reservation ends.
    last_time INTEGER NOT NULL,
    PRIMARY KEY (decision_id, rank)
) STRICT, WITHOUT ROWID;
CREATE INDEX contacts_by_customer ON contacts (customer_id, last_time);

ALTER TABLE outcomes ADD COLUMN instead_action_id TEXT NOT NULL DEFAULT '';
ALTER TABLE outcomes ADD COLUMN actor_id TEXT NOT NULL DEFAULT '';
ALTER TABLE outcomes ADD COLUMN customer_id TEXT NOT NULL DEFAULT '';
UPDATE outcomes SET customer_id =
    (SELECT customer_id FROM decisions WHERE decisions.decision_id = outcomes.decision_id);
CREATE INDEX outcomes_by_customer ON outcomes (customer_id, outcome_time);
