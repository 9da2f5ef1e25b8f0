"""Stores of all services, filled, exported and imported by the command line, and archives taken apart."""

import asyncio
import contextlib
import json
import sqlite3
import zipfile

import databases
import profile_stores
import pytest
from decision_logs import MIGRATIONS, MIGRATIONS_OF_POSTGRESQL, fill
from event_stores import postgresql_store, sqlite_store

from services.chassis.postgres import Postgres
from services.chassis.sqlite import Database
from services.cli.__main__ import main
from services.cli.data.parts import PARTS
from services.features.domain.events import Event
from services.gateway.adapters.postgres_log import PostgresLog
from services.gateway.adapters.sqlite_log import SqliteLog

KINDS = ("sqlite", "postgresql")
LEFT_BEHIND = {"profile": set(), "features": {"counter", "changes"}, "gateway": {"ledgers", "last_model"}}
"""Tables in which a store goes on by itself."""


class Stores:
    """The stores of all services, in files or in one database; ``url`` is empty for files."""

    def __init__(self, home, url=""):
        self.home, self.url = home, url
        self.lease_seconds = "0.1"

    @property
    def environ(self):
        """Return the settings that name them."""
        named = {f"TACT_{part.name.upper()}_STORE": self.url for part in PARTS}
        always = {"TACT_HOME": str(self.home), "TACT_PROFILE_IDENTITY_LEASE_SECONDS": self.lease_seconds}
        return {**always, **(named if self.url else {})}

    @contextlib.asynccontextmanager
    async def log(self):
        """Open the decision log."""
        if self.url:
            migrations = [path.read_text() for path in MIGRATIONS_OF_POSTGRESQL]
            async with Postgres.open(self.url, migrations, schema="gateway") as database:
                yield PostgresLog(database)
        else:
            migrations = [path.read_text() for path in MIGRATIONS]
            async with Database.open(self.home / "gateway.sqlite", migrations) as database:
                yield SqliteLog(database)

    @contextlib.asynccontextmanager
    async def profiles(self):
        """Open the store of profiles."""
        opened = profile_stores.postgresql_at(self.url) if self.url else profile_stores.sqlite(self.home)
        async with opened as held:
            yield held.store

    @contextlib.asynccontextmanager
    async def events(self):
        """Open the store of events."""
        opened = postgresql_store(self.url) if self.url else sqlite_store(self.home)
        async with opened as (store, _):
            yield store

    def rows(self, part, table):
        """Return all rows of a table, in order."""
        columns, key = ", ".join(table.columns), ", ".join(table.key)
        statement = f"SELECT {columns} FROM {table.name} ORDER BY {key}"  # noqa: S608 - of names in the program
        if self.url:
            with databases.administrator(self.url) as server:
                server.execute(f"SET search_path TO {part.name}, public")
                return server.execute(statement).fetchall()
        with contextlib.closing(sqlite3.connect(self.home / f"{part.name}.sqlite")) as file:
            return file.execute(statement).fetchall()

    def everything(self):
        """Return all rows that must be the same wherever they lie, by service and table."""
        return {
            (part.name, table.name): self.rows(part, table)
            for part in PARTS
            for table in part.tables
            if table.name not in LEFT_BEHIND.get(part.name, ())
        }


def event(number, customer_id, **changes):
    """Make an event."""
    fields = {
        "event_id": f"e-{number}",
        "customer_id": customer_id,
        "type": "visit",
        "event_time": 1_000 + number,
        "attributes": '{"où":"\u2028\\n"}',
    }
    return Event(**(fields | changes))


async def populate(stores, *customer_ids):
    """Put something of every kind into every store for each customer."""
    async with stores.log() as log:
        await fill(log, *customer_ids)
    async with stores.profiles() as profiles:
        await profile_stores.made(profiles, *customer_ids)
        for name in customer_ids:
            await profiles.upsert([profile_stores.update(name, at=20, age="41", segment="null")])
            await profiles.record([profile_stores.consent(f"{name} consent", customer_id=name)])
        for name in customer_ids[1:]:
            await profiles.link(profile_stores.link(f"{name} link", customer_ids[0], name))
            await profiles.link(profile_stores.unlink(f"{name} unlink", name))
        if len(customer_ids) > 2:
            await profiles.link(profile_stores.link("last", *customer_ids[1:3]))
    async with stores.events() as events:
        for number, name in enumerate(customer_ids):
            await events.append([event(1_000 * number + place, name) for place in range(3)])


def filled(stores, *customer_ids):
    """Populate from outside of a loop; returns the stores."""
    asyncio.run(populate(stores, *customer_ids))
    return stores


@contextlib.contextmanager
def opened(kind, home):
    """Make stores of a kind."""
    home.mkdir(parents=True, exist_ok=True)
    if kind == "sqlite":
        yield Stores(home)
        return
    with databases.postgresql() as url:
        yield Stores(home, url)


@pytest.fixture
def tact(monkeypatch, capsys):
    """Run a command on stores; returns its code, what it printed, and what went wrong."""

    def run(stores, *arguments):
        with monkeypatch.context() as patch:
            for name, value in stores.environ.items():
                patch.setenv(name, value)
            code = main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def rewritten(path, changes, copy):
    """Write an archive again under another name, each file that is named changed by a function."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if (change := changes.get(name, lambda content: content)) is not None:
                new.writestr(name, change(content))
        for name in changes.keys() - set(old.namelist()):
            new.writestr(name, changes[name](b""))
    return copy


def manifest_of(path):
    """Return what an archive says of itself."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("manifest.json"))
