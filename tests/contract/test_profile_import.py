"""Who is one customer, where archives of profiles are put into stores that know of them already."""

import asyncio

import databases
import pytest
from archives import KINDS, opened, tact
from profile_stores import consent, everything, link, made, read, unlink

from services.chassis.postgres import Postgres
from services.cli.data.parts import PROFILE
from services.cli.data.targets import Erased, _PostgresTarget
from services.profile.adapters import postgres_links
from services.profile.domain.links import LinkAnswer

__all__ = ["tact"]
NAMES = ("a", "b", "c", "x")

NOBODY = Erased(made_time=0, since=0, times={}, known={})


def lived(stores, exercise):
    """Do something with the profiles of stores; return what comes of it."""

    async def main():
        async with stores.profiles() as profiles:
            return await exercise(profiles)

    return asyncio.run(main())


def told(stores):
    return lived(stores, lambda profiles: everything(profiles, NAMES))


@pytest.mark.parametrize("kind", KINDS)
def test_an_import_links_nobody_who_was_unlinked_since(kind, tact, tmp_path):
    path = tmp_path / "all.zip"

    async def live(profiles):
        await made(profiles, "a", "b")
        await profiles.link(link("l-1", "a", "b"))

    async def leave(profiles):
        await profiles.link(unlink("l-2", "b"))

    async def turn(profiles):
        assert (await profiles.link(link("l-3", "b", "a"))).answer is LinkAnswer.NEW

    with opened(kind, tmp_path / "a") as stores:
        lived(stores, live)
        assert tact(stores, "data", "export", path)[0] == 0
        for change in (leave, turn):
            lived(stores, change)
            before = told(stores)
            assert tact(stores, "data", "import", path)[0] == 0
            assert told(stores) == before


@pytest.mark.parametrize("kind", KINDS)
def test_an_import_makes_no_circle(kind, tact, tmp_path):
    """Of two stores that went apart, the later act tells whose member each is."""
    path = tmp_path / "all.zip"

    async def live(profiles):
        await made(profiles, *NAMES)
        await profiles.link(link("l-1", "c", "x"))
        await profiles.erase(["c", "x"], lambda: 1)
        assert (await profiles.link(link("l-2", "b", "a"))).family.version == 2

    async def live_apart(profiles):
        await made(profiles, "a", "b")
        await profiles.link(link("l-3", "a", "b"))

    async def look(profiles):
        families = [await read(profiles, name) for name in ("a", "b")]
        assert {(one.customer_id, one.members) for one in families} == {("b", ("a", "b"))}
        assert (await profiles.link(unlink("l-4", "a"))).answer is LinkAnswer.NEW

    with opened(kind, tmp_path / "a") as here, opened(kind, tmp_path / "b") as there:
        lived(here, live)
        lived(there, live_apart)
        assert tact(here, "data", "export", path)[0] == 0
        assert tact(there, "data", "import", path)[0] == 0
        lived(there, look)


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_who_is_one_is_the_same_elsewhere_where_acts_were_erased(source, target, tact, tmp_path):
    path = tmp_path / "all.zip"

    async def live(profiles):
        await made(profiles, *NAMES)
        acts = [link("l-1", "a", "b"), link("l-2", "x", "a"), unlink("l-3", "b"), unlink("l-4", "a")]
        for act in (*acts, link("l-5", "c", "x"), link("l-6", "x", "a"), unlink("l-7", "x")):
            assert (await profiles.link(act)).answer is LinkAnswer.NEW
        assert await profiles.erase(["x"], lambda: 1)
        return [(await read(profiles, name)).members for name in ("a", "b", "c")]

    async def go_on(profiles):
        return (await profiles.link(link("l-8", "c", "b"))).family.version

    with opened(source, tmp_path / "a") as here, opened(target, tmp_path / "b") as there:
        assert lived(here, live) == [("a", "c"), ("b",), ("a", "c")]
        assert tact(here, "data", "export", path)[0] == 0
        for _ in range(2):
            assert tact(there, "data", "import", path)[0] == 0
            assert told(there) == told(here)
        # Nobody who knows of an erased act takes a later one for an earlier.
        assert lived(there, go_on) == lived(here, go_on) == 8


def test_on_postgresql_an_import_waits_for_who_changes_who_is_one(tmp_path):
    url = databases.emptied(databases.shared_postgresql())
    customers, consents = (
        next(table for table in PROFILE.tables if table.name == name) for name in ("customers", "consents")
    )

    async def main():
        entered, may_end = asyncio.Event(), asyncio.Event()

        async def change(connection):
            await postgres_links.alone(connection)
            entered.set()
            await may_end.wait()

        options = {"schema": "profile", "connections": 1}
        async with (
            Postgres.open(url, PROFILE.postgres_migrations, **options) as one,
            Postgres.open(url, PROFILE.postgres_migrations, **options) as two,
        ):
            changing = asyncio.create_task(one.write(change))
            await entered.wait()
            target = _PostgresTarget(PROFILE, two)
            putting = asyncio.create_task(target.put(customers, [("a",)], NOBODY))
            done, _ = await asyncio.wait([putting], timeout=0.3)
            may_end.set()
            await changing
            assert not done
            assert (await putting).new == 1
            said = consent("r-1", customer_id="a").statement
            row = (4, said.receipt_id, "a", said.purpose, said.channel, said.state, 10, None, "test", 10)
            assert (await target.put(consents, [row], NOBODY)).new == 1

    asyncio.run(main())
