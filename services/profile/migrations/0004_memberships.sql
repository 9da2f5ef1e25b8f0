-- Whose member each is who was ever linked, nobody's where it left, as of which act: so of two copies of a
-- store the later one is known.
CREATE TABLE memberships (
    member_id TEXT PRIMARY KEY REFERENCES customers (customer_id),
    customer_id TEXT REFERENCES customers (customer_id),
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_by_customer ON memberships (customer_id);
INSERT INTO memberships
SELECT member_id, (SELECT customer_id FROM pointers WHERE pointers.member_id = links.member_id), max(sequence)
FROM links WHERE member_id IN (SELECT customer_id FROM customers) GROUP BY member_id;
INSERT INTO memberships SELECT member_id, customer_id, 0 FROM pointers WHERE true ON CONFLICT DO NOTHING;

-- Who is a member of whom at present.
DROP TABLE pointers;
CREATE VIEW pointers AS SELECT member_id, customer_id FROM memberships WHERE customer_id IS NOT NULL;

-- One row: the number of the newest act. None is ever given twice, also where acts were erased.
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    newest INTEGER NOT NULL
) STRICT;
INSERT INTO counter SELECT 1, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'links'), 0);
