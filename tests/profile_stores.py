"""Every store of profiles, filled and hindered for tests."""

import asyncio
import contextlib
from dataclasses import replace

import databases
import decision_logs
import pytest

from services.chassis.postgres import Postgres
from services.chassis.sqlite import Database
from services.profile.adapters import postgres_profiles, sqlite_profiles
from services.profile.adapters.postgres_profiles import PostgresProfiles
from services.profile.adapters.sqlite_profiles import SqliteProfiles
from services.profile.domain.consents import Consent, State, Statement
from services.profile.domain.identities import Identity
from services.profile.domain.links import Linking
from services.profile.domain.updates import Update
from services.profile.fakes import InMemoryProfiles

MIGRATIONS = [path.read_text() for path in sorted(sqlite_profiles.MIGRATIONS.glob("*.sql"))]
MIGRATIONS_OF_POSTGRESQL = [path.read_text() for path in sorted(postgres_profiles.MIGRATIONS.glob("*.sql"))]
QUEUE = 100
FULL_DISK = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'disk is full' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON profile.attributes EXECUTE FUNCTION refuse();
    CREATE TRIGGER refuse BEFORE INSERT ON profile.consents EXECUTE FUNCTION refuse();
"""


class Fake:
    """The store in memory."""

    def __init__(self):
        self.store = InMemoryProfiles()


class Sqlite(decision_logs.Sqlite):
    """The store in a file."""

    def __init__(self, database):
        self.database = database
        self.store = SqliteProfiles(database)


class Postgresql(decision_logs.Postgresql):
    """The store on a server."""

    def __init__(self, url, database):
        self.url = url
        self.database = database
        self.store = PostgresProfiles(database)

    async def fill_disk(self):
        await asyncio.to_thread(self._execute, FULL_DISK)


@contextlib.asynccontextmanager
async def fake(folder):
    yield Fake()


@contextlib.asynccontextmanager
async def sqlite(folder):
    async with Database.open(folder / "profile.sqlite", MIGRATIONS, queue_limit=QUEUE) as database:
        yield Sqlite(database)


@contextlib.asynccontextmanager
async def postgresql(folder):
    url = databases.emptied(databases.shared_postgresql())
    async with postgresql_at(url) as held:
        yield held


@contextlib.asynccontextmanager
async def postgresql_at(url, connections=decision_logs.CONNECTIONS):
    options = {"connections": connections, "queue_limit": QUEUE}
    async with Postgres.open(url, MIGRATIONS_OF_POSTGRESQL, schema="profile", **options) as database:
        yield Postgresql(url, database)


every_store = pytest.mark.parametrize("opened", [fake, sqlite, postgresql])
real_stores = pytest.mark.parametrize("opened", [sqlite, postgresql])


def update(customer_id="c1", *, at=10, cards=(), source="test", **attributes):
    return Update(
        customer_id=customer_id,
        attributes=attributes,
        identities=tuple(Identity("card", card) for card in cards),
        record_time=at,
        source=source,
    )


def consent(
    receipt_id,
    *,
    customer_id="c1",
    at=10,
    state=State.GRANTED,
    purpose="marketing",
    channel="mail",
    expire_time=None,
):
    statement = Statement(
        receipt_id=receipt_id,
        customer_id=customer_id,
        purpose=purpose,
        channel=channel,
        state=state,
        stated_time=at,
        expire_time=expire_time,
        source="test",
    )
    return Consent(statement=statement, record_time=at)


def link(link_id, customer_id, member_id, *, at=100, source="crm"):
    return Linking(
        link_id=link_id,
        customer_id=customer_id,
        member_id=member_id,
        is_unlink=False,
        source=source,
        record_time=at,
    )


def unlink(link_id, member_id, *, at=200):
    return replace(link(link_id, "", member_id, at=at), is_unlink=True)


async def made(store, *names):
    await store.upsert([update(name, cards=[f"card-{name}"], source=name) for name in names])


async def read(store, key, before=None):
    (profile,) = await store.read([key], before)
    return profile


async def owner_of(store, card):
    (customer_id,) = await store.resolve([Identity("card", card)])
    return customer_id


async def exported(store, *customer_ids):
    """Return all pages of an export as one."""
    rows, token = [], ""
    while True:
        page = await store.export(customer_ids, token)
        rows += page.rows
        token = page.next_token
        if not token:
            return rows


async def everything(store, names):
    """Return all that a store of a few customers tells of them, now and as of times."""
    cards = [Identity("card", card) for card in "12"]
    return (
        [await store.read([*names, *cards], before) for before in (1, 2, 3, 100, None)],
        await store.resolve(cards),
        [await store.links(name) for name in names],
        [await store.consents_of(name) for name in names],
        await exported(store, *names),
    )


def using(opened, folder, exercise):
    async def main():
        async with opened(folder) as held:
            return await exercise(held)

    return asyncio.run(main())


def run(opened, folder, main):
    return using(opened, folder, lambda held: main(held.store))
