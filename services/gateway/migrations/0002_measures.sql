-- What outcomes carry beside their kind: a JSON object of numbers by name.
ALTER TABLE outcomes ADD COLUMN measures TEXT NOT NULL DEFAULT '{}';
