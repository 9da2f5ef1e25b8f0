"""What every decision log promises of customers who are taken out, or away."""

import asyncio
import contextlib
import json
from datetime import timedelta

import databases
import pytest
from decision_logs import (
    MIGRATIONS,
    MIGRATIONS_OF_POSTGRESQL,
    NOW,
    entry,
    every_log,
    fake,
    fill,
    outcome,
    postgresql,
    sqlite,
    using,
)
from test_contact_ledger import GO, reserving

from services.chassis.postgres import Postgres
from services.chassis.sqlite import Database
from services.chassis.tables import InvalidRow, tombstone
from services.engine.instants import microseconds
from services.gateway.adapters.postgres_log import PostgresLog
from services.gateway.adapters.tables import TABLES
from services.gateway.ports import DecisionErased, LedgerMoved

LATER = NOW + timedelta(hours=2)
NAMES = [table.name for table in TABLES]
EACH = {"decisions": 3, "dry_run_decisions": 1, "outcomes": 2, "contacts": 2, "ledgers": 1, "families": 1}
"""What each customer of ``fill`` has."""
NOTHING = dict.fromkeys(NAMES, 0)


async def exported(log, *customer_ids):
    """Return the rows of customers over all pages, as (table, row)."""
    rows, token = [], ""
    while True:
        page = await log.export(customer_ids, token)
        rows += [(table, json.loads(row)) for table, row in page.rows]
        if not (token := page.next_token):
            return rows


@every_log
def test_all_of_a_customer_goes_and_all_of_others_stays(opened, tmp_path):
    async def exercise(held):
        await fill(held.log, "anna", "ben", "cleo")
        before = await exported(held.log, "cleo")
        both = {name: 2 * count for name, count in EACH.items()}
        assert await held.log.erase(["anna", "ben", "anna"], lambda: LATER) == NOTHING | both
        assert await exported(held.log, "anna", "ben") == []
        assert await exported(held.log, "cleo") == before
        reading = await held.log.ledger(["anna"], NOW - timedelta(days=9))
        assert (list(reading.ledger.contacts), list(reading.ledger.responses)) == ([], [])
        assert await held.log.erase(["anna", "ben"], lambda: LATER) == NOTHING

    using(opened, tmp_path, exercise)


@every_log
def test_an_erased_decision_is_known_to_be_erased_and_is_never_made_again(opened, tmp_path):
    async def exercise(held):
        await fill(held.log, "anna")
        await held.log.erase(["anna"], lambda: LATER)
        for live in (True, False):
            for decision_id in ("anna-1", "anna-4"):
                with pytest.raises(DecisionErased):
                    await held.log.find(decision_id, live)
                with pytest.raises(DecisionErased):
                    await held.log.append(entry(decision_id, live=live))
        with pytest.raises(DecisionErased):
            await held.log.append(reserving("anna-1", {"anna": 0}))
        with pytest.raises(DecisionErased):
            await held.log.claim("anna-1", 2, GO, {"anna": 0})
        assert await held.log.standing("anna-1", 1) is None
        assert await held.log.outcomes_of("anna-1") == []
        reports = [outcome("anna o-1", decision_id="anna-1"), outcome("o-9", decision_id="never-made")]
        assert (await held.log.record_outcomes(reports, LATER)).verdicts == ["erased", "unknown"]
        assert await exported(held.log, "anna") == []

    using(opened, tmp_path, exercise)


@every_log
def test_who_comes_again_under_the_same_id_is_a_new_customer(opened, tmp_path):
    async def exercise(held):
        await fill(held.log, "anna")
        await held.log.erase(["anna"], lambda: LATER)
        assert await held.log.append(reserving("new", {"anna": 0})) is None
        report = outcome("anna o-1", decision_id="new")
        assert (await held.log.record_outcomes([report], LATER)).verdicts == ["accepted"]
        assert (await held.log.find("new", live=True)).record == b"whole\0record"

    using(opened, tmp_path, exercise)


@every_log
def test_what_was_decided_by_the_ledger_of_before_is_not_written(opened, tmp_path):
    async def exercise(held):
        await fill(held.log, "anna")
        versions = (await held.log.ledger(["anna"], NOW)).versions
        await held.log.erase(["anna"], lambda: LATER)
        with pytest.raises(LedgerMoved):
            await held.log.append(reserving("late", versions))
        assert await exported(held.log, "anna") == []

    using(opened, tmp_path, exercise)


@pytest.mark.parametrize("opened", [sqlite, postgresql])
def test_rows_are_the_same_in_every_store(opened, tmp_path):
    async def exercise(held):
        await fill(held.log, "ben", "anna")
        return await exported(held.log, "anna", "ben", "nobody")

    rows = using(opened, tmp_path, exercise)
    assert rows == using(fake, tmp_path, exercise)
    found = {name: sum(table == name for table, _ in rows) for name in NAMES}
    assert found == NOTHING | {name: 2 * count for name, count in EACH.items()}
    assert list(dict.fromkeys(table for table, _ in rows)) == [name for name in NAMES if found[name]]


@every_log
def test_pages_hold_every_row_once(opened, tmp_path):
    async def exercise(held):
        for number in range(250):
            await held.log.append(entry(f"d-{number:03}", record=bytes(30_000)))
        rows = await exported(held.log, "anna")
        assert [row["decision_id"] for _, row in rows] == [f"d-{number:03}" for number in range(250)]
        first = await held.log.export(["anna"], "")
        assert first.next_token
        assert len(first.rows) < 100

    using(opened, tmp_path, exercise)


@every_log
@pytest.mark.parametrize("token", ["x", "[]", '["decisions"]', '["nowhere", ["a"]]', '["contacts", ["a"]]'])
def test_a_token_of_another_export_is_refused(opened, token, tmp_path):
    async def exercise(held):
        with pytest.raises(InvalidRow):
            await held.log.export(["anna"], token)

    using(opened, tmp_path, exercise)


@pytest.mark.parametrize("opened", [sqlite, postgresql])
def test_only_ids_of_decisions_and_hashes_of_customers_stay(opened, tmp_path):
    async def exercise(held):
        await fill(held.log, "anna")
        await held.log.erase(["anna", "ben"], lambda: NOW)
        await held.log.erase(["anna"], lambda: LATER)
        await held.log.erase(["ben"], lambda: NOW - timedelta(days=1))
        erasures = await everything(held, "erasures")
        moments = {tombstone("anna"): microseconds(LATER), tombstone("ben"): microseconds(NOW)}
        assert dict(erasures) == moments
        decisions = await everything(held, "erased_decisions")
        assert decisions == [(f"anna-{number}", microseconds(NOW)) for number in range(1, 5)]
        assert "anna" not in json.dumps(erasures)

    using(opened, tmp_path, exercise)


async def everything(held, table):
    """Return the rows of a table by key."""
    statement = f"SELECT * FROM {table} ORDER BY 1"  # noqa: S608 - of table names only
    if hasattr(held.database, "path"):
        return held.database.read.execute(statement).fetchall()

    async def read(connection):
        return await (await connection.execute(statement)).fetchall()

    return await held.database.read(read)


def test_on_postgresql_who_waits_for_an_erasure_writes_nothing_that_it_erased(tmp_path):
    """An insert that met the row of an erasure under way goes on once that row is gone."""

    async def exercise(held):
        await fill(held.log, "anna")
        entered, may_end = asyncio.Event(), asyncio.Event()

        class Slow(PostgresLog):
            async def erase(self, customer_ids, now):
                write = self._postgres.write

                async def slowly(work, **options):
                    async def held_open(connection):
                        done = await work(connection)
                        entered.set()
                        await may_end.wait()
                        return done

                    return await write(held_open, **options)

                self._postgres.write = slowly
                try:
                    return await super().erase(customer_ids, now)
                finally:
                    self._postgres.write = write

        async with beside(held.url) as database:
            erasing = asyncio.create_task(Slow(database).erase(["anna"], lambda: LATER))
            await entered.wait()
            waiting = [
                held.log.append(entry("anna-3", offers=[])),
                held.log.record_outcomes([outcome("late", decision_id="anna-2")], LATER),
                held.log.claim("anna-2", 1, GO, {"anna": 0}),
            ]
            tasks = [asyncio.create_task(one) for one in waiting]
            done, _ = await asyncio.wait(tasks, timeout=0.3)
            assert not done
            may_end.set()
            appended, told, claimed = await asyncio.gather(*tasks, return_exceptions=True)
            await erasing
        assert isinstance(appended, DecisionErased)
        assert told.verdicts == ["erased"]
        assert isinstance(claimed, DecisionErased)
        assert await exported(held.log, "anna") == []

    using(postgresql, tmp_path, exercise)


@contextlib.asynccontextmanager
async def beside(url):
    """Open the same database as another process would."""
    migrations = [path.read_text() for path in MIGRATIONS_OF_POSTGRESQL]
    async with Postgres.open(url, migrations, schema="gateway", connections=3) as database:
        yield database


@pytest.mark.parametrize("opened", [sqlite, postgresql])
def test_a_crowd_that_writes_while_its_customer_is_erased_leaves_a_whole_log(opened, tmp_path):
    async def exercise(held):
        one_by_one = asyncio.Semaphore(3)

        async def write(number):
            async with one_by_one:
                await write_all(number)

        async def write_all(number):
            decision_id = f"d-{number % 10}"
            with contextlib.suppress(DecisionErased):
                await held.log.append(entry(decision_id))
            await held.log.record_outcomes([outcome(f"o-{number}", decision_id=decision_id)], NOW)
            with contextlib.suppress(DecisionErased):
                versions = (await held.log.ledger(["anna"], NOW)).versions
                with contextlib.suppress(LedgerMoved):
                    await held.log.claim(decision_id, 1, GO, versions)
            if number % 7 == 0:
                await held.log.erase(["anna"], lambda: LATER)

        await asyncio.gather(*map(write, range(60)))
        erased = {decision_id for decision_id, _ in await everything(held, "erased_decisions")}
        standing = {row[0] for row in await everything(held, "decisions")}
        assert erased | standing == {f"d-{number}" for number in range(10)}
        assert not erased & standing
        await held.log.erase(["anna"], lambda: LATER)
        assert await exported(held.log, "anna") == []

    using(opened, tmp_path, exercise)


def test_a_file_of_before_erasures_is_brought_up_to_date(tmp_path):
    path = tmp_path / "gateway.sqlite"

    async def before():
        async with Database.open(path, [one.read_text() for one in MIGRATIONS[:3]]) as database:
            row = ("d-1", "anna", "f", microseconds(NOW), 0, b"whole", "[]")
            insert = "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?)"
            await database.write(lambda connection: connection.execute(insert, row).rowcount)

    async def after(held):
        assert (await held.log.find("d-1", live=True)).record == b"whole"
        assert (await held.log.erase(["anna"], lambda: LATER))["decisions"] == 1

    asyncio.run(before())
    using(sqlite, tmp_path, after)


def test_a_database_of_before_erasures_is_brought_up_to_date(tmp_path):
    with databases.postgresql() as url:

        async def main():
            first = [MIGRATIONS_OF_POSTGRESQL[0].read_text()]
            async with Postgres.open(url, first, schema="gateway") as database:
                row = ("d-1", "anna", "f", microseconds(NOW), 0, b"whole", "[]")
                insert = "INSERT INTO decisions VALUES (%s, %s, %s, %s, %s, %s, %s)"
                await database.write(lambda connection: connection.execute(insert, row))
            async with beside(url) as database:
                log = PostgresLog(database)
                assert (await log.find("d-1", live=True)).record == b"whole"
                assert (await log.erase(["anna"], lambda: LATER))["decisions"] == 1

        asyncio.run(main())
