-- Who was one customer in the newest live decision about a member, for the time when profiles are out of reach.
CREATE TABLE families (
    member_id TEXT COLLATE "C" PRIMARY KEY,
    customer_id TEXT COLLATE "C" NOT NULL,
    identity_version BIGINT NOT NULL
);
CREATE INDEX families_by_customer ON families (customer_id, identity_version);
