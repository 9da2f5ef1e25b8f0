"""What an archive is held to is what the stores hold rows to."""

import contextlib
import sqlite3

import pytest

from services.cli.data.parts import PARTS
from services.cli.data.references import REFERENCES, References


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_references_are_the_foreign_keys_of_the_stores(part):
    with contextlib.closing(sqlite3.connect(":memory:")) as file:
        for script in part.sqlite_migrations:
            file.executescript(script)
        found = {
            table.name: {row[3]: row[2] for row in file.execute(f"PRAGMA foreign_key_list({table.name})")}
            for table in part.tables
        }
    assert {name: keys for name, keys in found.items() if keys} == REFERENCES.get(part.name, {})


def test_a_row_that_refers_to_nothing_is_told():
    tables = {table.name: table for part in PARTS for table in part.tables}
    references = References("profile")
    references.note(tables["customers"], ("anna",))
    references.note(tables["memberships"], ("anna", None, 1))
    references.note(tables["memberships"], ("anna", "anna", 2))
    assert references.broken() == ""
    references.note(tables["memberships"], ("anna", "björn", 3))
    assert references.broken() == "memberships of customers that are not there"
