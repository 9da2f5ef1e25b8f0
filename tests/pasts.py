"""Stores of events and profiles as their services leave them, for those who read them without a service."""

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path

import databases
import pytest
from tact.profile.v1 import profile_service_pb2 as pb

import services.features
import services.profile
from services.chassis.inprocess import InProcessStub
from services.profile import app as profile_app
from services.profile.settings import ProfileSettings
from training.data.stores import events_in, profiles_in

TABLES = {
    "features": ("events",),
    "profile": ("customers", "identities", "attributes", "consents", "links", "memberships"),
}
MIGRATIONS = {
    name: Path(module.__file__).parent / "migrations"
    for name, module in (("features", services.features), ("profile", services.profile))
}


class Past:
    """Both stores; ``write`` executes a statement with ``?`` for each parameter."""

    def __init__(self, features, profile, write):
        self.stores = {"features": features, "profile": profile}
        self.events = events_in(features)
        self.profiles = profiles_in(profile)
        self._write = write

    def happened(self, *events):
        """Store (event id, customer id, type, time, attributes)."""
        for event_id, customer_id, kind, time, attributes in events:
            row = (event_id, customer_id, kind, time, json.dumps(attributes))
            select = "SELECT coalesce(max(sequence), 0) + 1, ?, ?, ?, ?, ? FROM events"
            self._write("features", f"INSERT INTO events {select}", row)

    def known(self, *values):
        """Store (customer id, name, time, value); the customer is on file by then."""
        for customer_id, name, time, value in values:
            self.customers(customer_id)
            row = (customer_id, name, time, json.dumps(value))
            self._write("profile", "INSERT INTO attributes VALUES (?, ?, ?, ?, 'crm')", row)

    def customers(self, *names):
        """Put customers on file."""
        for name in names:
            self._write("profile", "INSERT INTO customers VALUES (?) ON CONFLICT DO NOTHING", (name,))

    def linked(self, *pairs):
        """Point from members to customers, as in ("anna", "bert") where bert becomes a member of anna."""
        for customer_id, member_id in pairs:
            self.customers(customer_id, member_id)
            self._write("profile", "INSERT INTO memberships VALUES (?, ?, 1)", (member_id, customer_id))

    def write(self, service, statement):
        """Do anything else to a store."""
        self._write(service, statement, ())


@contextlib.contextmanager
def sqlite(folder):
    """Make two files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {service: folder / f"{service}.sqlite" for service in TABLES}
    with contextlib.ExitStack() as stack:
        connections = {
            service: stack.enter_context(contextlib.closing(sqlite3.connect(file, isolation_level=None)))
            for service, file in files.items()
        }
        for service, connection in connections.items():
            for path in sorted(MIGRATIONS[service].glob("*.sql")):
                connection.executescript(path.read_text())
        yield Past(
            files["features"],
            files["profile"],
            lambda service, statement, parameters: connections[service].execute(statement, parameters),
        )


@contextlib.contextmanager
def postgresql(folder):
    """Make a database, with a schema for each service."""
    url = databases.emptied(databases.shared_postgresql())
    with databases.administrator(url) as server:
        prepare(server)

        def write(service, statement, parameters):
            server.execute(f"SET search_path TO {service}, public")
            server.execute(statement.replace("?", "%s"), parameters)

        yield Past(url, url, write)


def prepare(server):
    """Make all tables in an empty database."""
    for service in TABLES:
        server.execute(f"SET search_path TO {service}, public")
        for path in sorted((MIGRATIONS[service] / "postgresql").glob("*.sql")):
            server.execute(path.read_text())


every_past = pytest.mark.parametrize("opened", [sqlite, postgresql])


def copy(home, url):
    """Copy whatever the services left in files under a home into an empty database."""
    with databases.administrator(url) as server:
        prepare(server)
        for service, names in TABLES.items():
            server.execute(f"SET search_path TO {service}, public")
            with contextlib.closing(sqlite3.connect(home / f"{service}.sqlite")) as file:
                for name in names:
                    columns = [column[1] for column in file.execute(f"PRAGMA table_info({name})")]
                    listed, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
                    rows = file.execute(f"SELECT {listed} FROM {name}").fetchall()  # noqa: S608 - our names
                    statement = f"INSERT INTO {name} ({listed}) VALUES ({places})"  # noqa: S608 - our names
                    with server.cursor() as cursor:
                        cursor.executemany(statement, rows)


def file_customers(home, book, names, *, links=(), unlinks=()):
    """Let a profile service put customers on file, link the two of each pair, then take members out."""

    async def run():
        settings = ProfileSettings(home=home, identity_lease_seconds=0.1)
        async with profile_app.open_service(settings, book) as service:
            await file_with(InProcessStub(service, 30.0), names, links=links, unlinks=unlinks)

    asyncio.run(run())


async def file_with(stub, names, *, links=(), unlinks=()):
    """Do so by calls to a profile service."""
    updates = [pb.ProfileUpdate(customer_id=name) for name in names]
    told = await stub.UpsertProfiles(pb.UpsertProfilesRequest(updates=updates))
    assert not any(result.HasField("error") for result in told.results), told
    for customer, other in links:
        ids = {"customer": pb.CustomerKey(customer_id=customer), "other": pb.CustomerKey(customer_id=other)}
        await stub.LinkIdentities(
            pb.LinkIdentitiesRequest(link_id=f"{customer}-{other}", source="crm", **ids)
        )
    for member in unlinks:
        act = pb.UnlinkIdentityRequest(link_id=f"out-{member}", customer_id=member, source="crm")
        await stub.UnlinkIdentity(act)


def one_customer(home, decided_about=()):
    """Return the sets of ids that are one by the pointers in a home, or were in a decision; slowly."""
    with contextlib.closing(sqlite3.connect(home / "profile.sqlite")) as file:
        found = [set(pair) for pair in file.execute("SELECT member_id, customer_id FROM pointers")]
    found += [set(members) for members in decided_about]
    while clash := next(((a, b) for a in found for b in found if a is not b and a & b), None):
        found = [one for one in found if one not in clash] + [clash[0] | clash[1]]
    return found
