-- Live and dry-run decisions are kept apart: only live ones have outcomes and train models.
CREATE TABLE decisions (
    decision_id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    record_time INTEGER NOT NULL,
    actions INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX decisions_by_customer ON decisions (customer_id);
CREATE INDEX decisions_by_time ON decisions (record_time);

CREATE TABLE dry_run_decisions (
    decision_id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    record_time INTEGER NOT NULL,
    actions INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX dry_run_decisions_by_customer ON dry_run_decisions (customer_id);
CREATE INDEX dry_run_decisions_by_time ON dry_run_decisions (record_time);

CREATE TABLE outcomes (
    outcome_id TEXT PRIMARY KEY,
    decision_id TEXT NOT NULL REFERENCES decisions (decision_id),
    rank INTEGER NOT NULL,
    kind TEXT NOT NULL,
    outcome_time INTEGER NOT NULL,
    record_time INTEGER NOT NULL
) STRICT;
CREATE INDEX outcomes_by_decision ON outcomes (decision_id);

-- One row: the last model that scoring described.
CREATE TABLE last_model (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    description TEXT NOT NULL
) STRICT;
