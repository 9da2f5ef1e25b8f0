"""Every implementation of the decision log, filled and hindered for tests."""

import asyncio
import contextlib
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import databases
import pytest

import services.gateway
from services.chassis.postgres import Postgres
from services.chassis.sqlite import Database
from services.engine.policy.contact import Facts, Ledger
from services.gateway.adapters.postgres_log import PostgresLog
from services.gateway.adapters.sqlite_log import SqliteLog
from services.gateway.domain.ledger import Claim, Offer
from services.gateway.domain.outcomes import OutcomeReport
from services.gateway.fakes import InMemoryLog
from services.gateway.ports import LogEntry, NotLogged

MIGRATIONS = sorted((Path(services.gateway.__file__).parent / "migrations").glob("*.sql"))
MIGRATIONS_OF_POSTGRESQL = sorted((MIGRATIONS[0].parent / "postgresql").glob("*.sql"))
NOW = datetime(2025, 5, 14, 9, 30, 0, 123_456, tzinfo=UTC)
QUEUE = 4
CONNECTIONS = 3
FULL_DISK = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'disk is full' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON decisions EXECUTE FUNCTION refuse();
    CREATE TRIGGER refuse BEFORE INSERT ON outcomes EXECUTE FUNCTION refuse();
    CREATE TRIGGER refuse BEFORE INSERT ON last_model EXECUTE FUNCTION refuse();
"""


class Forgetful(InMemoryLog):
    """A log whose ledger leaves out all that may be left out."""

    async def ledger(self, members, since):
        reading = await super().ledger(members, since)
        contacts = [one for one in reading.ledger.contacts if _last(one) >= since]
        responses = [one for one in reading.ledger.responses if one.time >= since]
        return replace(reading, ledger=Ledger(contacts=contacts, responses=responses))


class Fake:
    """The log in memory."""

    def __init__(self, log=InMemoryLog):
        self.log = log(queue_limit=QUEUE)

    @contextlib.asynccontextmanager
    async def queued(self, writes):
        """Keep so many writes waiting."""
        self.log.queued = writes
        yield
        self.log.queued = 0

    async def fill_disk(self):
        self.log.failure = NotLogged("disk is full")

    async def free_disk(self):
        self.log.failure = None


class Sqlite:
    """The log in a file."""

    def __init__(self, database):
        self.database = database
        self.log = SqliteLog(database)

    @contextlib.asynccontextmanager
    async def queued(self, writes):
        is_writing, may_end = threading.Event(), threading.Event()

        def hold(connection):
            is_writing.set()
            may_end.wait()

        holding = asyncio.create_task(self.database.write(hold))
        await asyncio.to_thread(is_writing.wait)
        waiting = [asyncio.create_task(self.database.write(lambda connection: None)) for _ in range(writes)]
        await asyncio.sleep(0)
        assert self.database.queue_depth == writes
        try:
            yield
        finally:
            may_end.set()
            await asyncio.gather(holding, *waiting)

    async def fill_disk(self):
        await self._limit("(SELECT page_count FROM pragma_page_count)")

    async def free_disk(self):
        await self._limit("1000000")

    async def _limit(self, pages):
        def limit(connection):
            (count,) = connection.execute(f"SELECT {pages}").fetchone()
            connection.execute(f"PRAGMA max_page_count = {count}")

        await self.database.write(limit)


class Postgresql:
    """The log on a server."""

    def __init__(self, url, database):
        self.url = url
        self.database = database
        self.log = PostgresLog(database)

    @contextlib.asynccontextmanager
    async def queued(self, writes):
        entered, may_end = asyncio.Semaphore(0), asyncio.Event()

        async def hold(connection):
            entered.release()
            await may_end.wait()

        async def nothing(connection):
            pass

        holding = [asyncio.create_task(self.database.read(hold)) for _ in range(CONNECTIONS)]
        for _ in holding:
            await entered.acquire()
        waiting = [asyncio.create_task(self.database.write(nothing)) for _ in range(writes)]
        # A write is a task of its own.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert self.database.queue_depth == writes
        try:
            yield
        finally:
            may_end.set()
            await asyncio.gather(*holding, *waiting)

    async def fill_disk(self):
        await asyncio.to_thread(self._execute, FULL_DISK)

    async def free_disk(self):
        await asyncio.to_thread(self._execute, "DROP FUNCTION refuse CASCADE")

    def _execute(self, statements):
        with databases.administrator(self.url) as server:
            server.execute(statements)


@contextlib.asynccontextmanager
async def fake(folder):
    yield Fake()


@contextlib.asynccontextmanager
async def forgetful(folder):
    yield Fake(Forgetful)


@contextlib.asynccontextmanager
async def sqlite(folder):
    migrations = [path.read_text() for path in MIGRATIONS]
    async with Database.open(folder / "gateway.sqlite", migrations, queue_limit=QUEUE) as database:
        yield Sqlite(database)


@contextlib.asynccontextmanager
async def postgresql(folder):
    migrations = [path.read_text() for path in MIGRATIONS_OF_POSTGRESQL]
    url = databases.emptied(databases.shared_postgresql())
    options = {"connections": CONNECTIONS, "queue_limit": QUEUE}
    async with Postgres.open(url, migrations, schema="gateway", **options) as database:
        yield Postgresql(url, database)


every_log = pytest.mark.parametrize("opened", [fake, sqlite, postgresql])


def offer(action_id, claim_by=None, is_inbound=False, **changes):
    facts = {
        "action_id": action_id,
        "treatment_id": "message",
        "group": "offers",
        "channel": "email",
        "purpose": "marketing",
        "action_class": "standard",
    }
    return Offer(facts=Facts(**(facts | changes)), is_inbound=is_inbound, claim_by=claim_by)


def entry(decision_id="d-1", **changes):
    return replace(
        LogEntry(
            decision_id=decision_id,
            live=True,
            customer_id="anna",
            fingerprint="f",
            record_time=NOW,
            offers=[offer("bread-coupon"), offer("survey")],
            record=b"whole\0record",
            without_trace=b"short",
        ),
        **changes,
    )


def outcome(outcome_id="o-1", **changes):
    report = OutcomeReport(
        outcome_id=outcome_id, decision_id="d-1", rank=1, kind="ACCEPTED", outcome_time=NOW
    )
    return replace(report, **changes)


async def fill(log, *customer_ids):
    """Put something of every kind on record for each customer: decisions, a claim, outcomes."""
    for name in customer_ids:
        until = NOW + timedelta(days=1)
        reserved = [offer("bread-coupon", until), offer("survey", group="service", is_inbound=True)]
        await log.append(entry(f"{name}-1", customer_id=name, offers=reserved, versions={name: 0}))
        family = {"members": [name], "identity_version": 7}
        await log.append(entry(f"{name}-2", customer_id=name, offers=[offer("bread-coupon")], **family))
        await log.append(entry(f"{name}-3", customer_id=name, offers=[], record=b"\xff\x00"))
        await log.append(entry(f"{name}-4", customer_id=name, live=False))
        claim = Claim(claim_id="sender", time=NOW + timedelta(hours=1))
        await log.claim(f"{name}-1", 1, claim, (await log.ledger([name], NOW)).versions)
        reports = [
            outcome(f"{name} o-1", decision_id=f"{name}-1", measures={"effort": 0.1}),
            outcome(f"{name} o-2", decision_id=f"{name}-2", kind="DELIVERED"),
        ]
        assert (await log.record_outcomes(reports, NOW)).verdicts == ["accepted", "accepted"]


def using(opened, folder, exercise):
    async def main():
        async with opened(folder) as held:
            return await exercise(held)

    return asyncio.run(main())


def _last(contact):
    return contact.consume_time or contact.expire_time or contact.release_time
