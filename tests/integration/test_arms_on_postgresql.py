"""``tact arms report`` reads PostgreSQL as it reads SQLite."""

import contextlib
from datetime import timedelta

import databases
from armory import CUSTOMERS, START, decide, ingest, outcome, report, write_playbook
from decision_logs import MIGRATIONS_OF_POSTGRESQL

from services.chassis.postgres import Postgres
from services.engine.playbook.loader import load
from services.gateway.adapters.postgres_log import PostgresLog


def test_a_log_in_postgresql_is_told_of_like_one_in_sqlite(tmp_path, capsys, monkeypatch):
    folder = write_playbook(tmp_path / "playbook")
    book = load(folder)
    asked = [(START + timedelta(hours=n), {"customer_id": one}) for n, one in enumerate(CUSTOMERS)]

    def outcomes(answers):
        return [
            outcome(number, answer, 1, "ACCEPTED", START + timedelta(days=2), measures={"effort": 2.5})
            for number, answer in enumerate(answers)
            if answer.actions
        ]

    ingest(tmp_path, book, [(one, "wine-coupon", START + timedelta(days=3)) for one in CUSTOMERS[::2]])
    monkeypatch.setenv("TACT_HOME", str(tmp_path))
    options = ("--playbook", folder, "--all", "--until", "2025-06-01")
    with databases.postgresql() as url:

        @contextlib.asynccontextmanager
        async def in_postgresql(home):
            migrations = [path.read_text() for path in MIGRATIONS_OF_POSTGRESQL]
            async with Postgres.open(url, migrations, schema="gateway", connections=2) as database:
                yield PostgresLog(database)

        decide(tmp_path, book, asked, outcomes, opened=in_postgresql)
        there = report(capsys, url, *options)
    decide(tmp_path, book, asked, outcomes)
    assert there == report(capsys, *options)
    assert there["customers"] == len(CUSTOMERS)
    assert sum(arm["reported"]["accepted"] for arm in there["arms"]) == len(CUSTOMERS)
