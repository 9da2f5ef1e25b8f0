"""A store of profiles as the release before wrote it, opened by this one."""

import asyncio
import contextlib
import sqlite3

import databases
import pytest
from profile_stores import (
    MIGRATIONS,
    MIGRATIONS_OF_POSTGRESQL,
    consent,
    exported,
    link,
    owner_of,
    postgresql_at,
    read,
    run,
    sqlite,
    update,
)

from services.chassis.postgres import Postgres
from services.chassis.sqlite import StoreUnavailable
from services.profile.domain.attributes import Attribute
from services.profile.domain.consents import Recorded, State
from services.profile.domain.links import LinkAnswer

BEFORE = 2
"""How many migrations the release before knew."""
ROWS = """
    INSERT INTO customers VALUES ('anna'), ('ben'), ('carl');
    INSERT INTO identities VALUES ('card', '1', 'anna'), ('card', '2', 'ben');
    INSERT INTO attributes VALUES
        ('anna', 'plan', 10, '"flat"', 'crm'), ('anna', 'plan', 20, 'null', 'crm'),
        ('ben', 'plan', 15, '"ä\\u0000"', 'import'), ('carl', 'age', 10, '40', '');
    INSERT INTO consents
        (sequence, receipt_id, customer_id, purpose, channel, state,
         record_time, stated_time, expire_time, source)
    VALUES
        (3, 'r-1', 'anna', 'marketing', 'mail', 'granted', 10, 10, 900, 'test'),
        (4, 'r-2', 'ben', 'marketing', 'mail', 'denied', 12, NULL, NULL, 'web'),
        (7, 'link-1', 'anna', 'marketing', 'mail', 'denied', 100, NULL, NULL, 'link');
    INSERT INTO pointers VALUES ('ben', 'anna');
    INSERT INTO links VALUES
        (1, 'l-1', 'anna', 'ben', 0, 'crm', 100, 'anna', 'ben'),
        (2, 'l-2', 'anna', 'carl', 0, 'crm', 110, 'anna', 'carl'),
        (5, 'l-3', '', 'carl', 1, 'crm', 120, 'anna', 'carl');
"""


@pytest.fixture
def written(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "profile.sqlite")) as connection:
        for script in (*MIGRATIONS[:BEFORE], ROWS):
            connection.executescript(script)
        connection.execute(f"PRAGMA user_version = {BEFORE}")
    return tmp_path


def test_a_store_of_the_release_before_tells_and_goes_on_with_the_same(written):
    async def main(store):
        anna, carl = await read(store, "anna"), await read(store, "carl")
        assert (anna.customer_id, anna.members, anna.version) == ("anna", ("anna", "ben"), 5)
        assert await read(store, "ben") == anna
        assert anna.attributes == {}
        assert (await read(store, "anna", 20)).attributes == {"plan": Attribute("ä\0", 15, "import")}
        assert [one.statement.receipt_id for one in anna.consents] == ["link-1"]
        said = await store.consents_of("ben")
        assert [one.statement.receipt_id for one in said] == ["r-1", "r-2", "link-1"]
        assert said[0] == consent("r-1", customer_id="anna", expire_time=900)
        assert (said[1].statement.state, said[1].statement.stated_time) == (State.DENIED, None)
        assert (carl.members, carl.attributes) == (("carl",), {"age": Attribute(40, 10, "")})
        assert [act.linking.link_id for act in await store.links("carl")] == ["l-1", "l-2", "l-3"]
        assert await owner_of(store, "2") == "anna"
        assert len(await exported(store, "anna", "ben", "carl")) == 3 + 2 + 4 + 3 + 3 + 2

        again = [consent("r-1", customer_id="anna", expire_time=900), consent("r-new", customer_id="carl")]
        assert await store.record(again) == [Recorded.DUPLICATE, Recorded.NEW]
        assert (await store.link(link("l-1", "anna", "ben"))).answer is LinkAnswer.DUPLICATE
        assert (await store.link(link("l-new", "anna", "carl"))).family.version == 6
        assert await store.upsert([update("anna", at=30, cards=["1"], plan='"new"')]) == [None]
        assert (await store.erase(["anna", "ben", "carl"], lambda: 500))["links"] == 4
        assert await store.read(["anna", "ben", "carl"], None) == [None] * 3

    run(sqlite, written, main)


def test_on_postgresql_members_and_numbers_are_those_of_before():
    url = databases.emptied(databases.shared_postgresql())

    async def before():
        async with Postgres.open(url, MIGRATIONS_OF_POSTGRESQL[:1], schema="profile") as postgres:

            async def live(connection):
                await connection.execute(ROWS)
                await connection.execute("SELECT setval('links_sequence_seq', 9)")

            await postgres.write(live)

    async def main():
        await before()
        async with postgresql_at(url) as held:
            assert [(await read(held.store, name)).members for name in ("anna", "ben", "carl")] == [
                ("anna", "ben"),
                ("anna", "ben"),
                ("carl",),
            ]
            assert (await held.store.link(link("l-new", "anna", "carl"))).family.version == 10

    asyncio.run(main())


def test_a_store_of_a_release_to_come_is_refused(written):
    with contextlib.closing(sqlite3.connect(written / "profile.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    async def nothing(store):
        raise AssertionError

    with pytest.raises(StoreUnavailable, match="a newer version wrote it"):
        run(sqlite, written, nothing)


def test_opening_a_store_again_changes_nothing(written):
    async def main(store):
        return await exported(store, "anna", "ben", "carl")

    def schema():
        with contextlib.closing(sqlite3.connect(written / "profile.sqlite")) as connection:
            return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()

    first, made = run(sqlite, written, main), schema()
    assert (run(sqlite, written, main), schema()) == (first, made)
    assert asyncio.run(_fresh(written / "fresh")) == made


async def _fresh(folder):
    """Return the schema of a store that this release makes anew."""
    async with sqlite(folder) as held:
        return held.database.read.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
