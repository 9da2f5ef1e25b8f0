"""What every decision log promises, and what the SQLite one adds."""

import asyncio
import contextlib
import json
import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest
from deciding import model
from decision_logs import MIGRATIONS, NOW, QUEUE, entry, every_log, outcome, sqlite, using

from services.chassis.sqlite import Database
from services.engine.instants import microseconds
from services.gateway.ports import MOST_OUTCOMES_TOLD, LogFull, Logged, NotLogged


@every_log
def test_an_empty_log_knows_nothing(opened, tmp_path):
    async def exercise(held):
        assert await held.log.find("d-1", live=True) is None
        assert await held.log.last_model() is None
        assert (await held.log.record_outcomes([outcome()], NOW)).verdicts == ["unknown"]

    using(opened, tmp_path, exercise)


@every_log
@pytest.mark.parametrize("live", [True, False])
def test_what_was_appended_is_found(opened, live, tmp_path):
    async def exercise(held):
        assert await held.log.append(entry(live=live)) is None
        assert await held.log.find("d-1", live) == Logged(
            fingerprint="f", record_time=NOW, record=b"whole\0record"
        )
        assert await held.log.find("d-1", not live) is None
        assert await held.log.find("d-2", live) is None

    using(opened, tmp_path, exercise)


@every_log
def test_the_first_decision_under_an_id_stands(opened, tmp_path):
    async def exercise(held):
        await held.log.append(entry())
        other = entry(fingerprint="g", record=b"other", record_time=NOW + timedelta(days=2), offers=[])
        standing = await held.log.append(other)
        assert standing == await held.log.find("d-1", live=True)
        assert standing.record == b"whole\0record"

    using(opened, tmp_path, exercise)


@every_log
def test_of_concurrent_decisions_under_an_id_one_stands(opened, tmp_path):
    async def exercise(held):
        entries = [entry(record=bytes([number])) for number in range(QUEUE)]
        answers = await asyncio.gather(*map(held.log.append, entries))
        assert answers.count(None) == 1
        winner = entries[answers.index(None)].record
        assert {answer.record for answer in answers if answer} == {winner}

    using(opened, tmp_path, exercise)


@every_log
def test_live_and_dry_decisions_are_kept_apart(opened, tmp_path):
    async def exercise(held):
        assert await held.log.append(entry(record=b"live")) is None
        assert await held.log.append(entry(record=b"dry", live=False)) is None
        assert (await held.log.find("d-1", live=True)).record == b"live"
        assert (await held.log.find("d-1", live=False)).record == b"dry"

    using(opened, tmp_path, exercise)


@every_log
@pytest.mark.parametrize("waiting", range(QUEUE + 1))
def test_a_queue_that_runs_full_drops_the_trace_and_then_the_decision(opened, waiting, tmp_path):
    async def exercise(held):
        async with held.queued(waiting):
            if waiting == QUEUE:
                with pytest.raises(LogFull):
                    await held.log.append(entry())
                with pytest.raises(LogFull):
                    await held.log.record_outcomes([outcome()], NOW)
                await held.log.keep_model(model())
                return
            appending = asyncio.create_task(held.log.append(entry()))
            await asyncio.sleep(0)
        assert await appending is None
        is_crowded = waiting * 2 >= QUEUE
        assert (await held.log.find("d-1", live=True)).record == (
            b"short" if is_crowded else b"whole\0record"
        )

    using(opened, tmp_path, exercise)


@every_log
def test_what_could_not_be_written_is_not_on_record(opened, tmp_path):
    big = {"record": b"r" * 100_000, "without_trace": b"s" * 100_000}

    async def exercise(held):
        await held.log.append(entry())
        await held.fill_disk()
        with pytest.raises(NotLogged):
            await held.log.append(entry("d-2", **big))
        with pytest.raises(NotLogged):
            await held.log.record_outcomes([outcome("o" * 100_000)], NOW)
        await held.log.keep_model(model(version="v" * 100_000))
        await held.free_disk()
        assert await held.log.find("d-2", live=True) is None
        assert await held.log.last_model() is None
        assert await held.log.append(entry("d-2", **big)) is None
        assert (await held.log.find("d-2", live=True)).record == big["record"]

    using(opened, tmp_path, exercise)


@every_log
def test_each_outcome_is_answered_in_order(opened, tmp_path):
    async def exercise(held):
        await held.log.append(entry())
        await held.log.append(entry("dry", live=False))
        settled = await held.log.record_outcomes(
            [
                outcome("o-1"),
                outcome("o-1"),
                outcome("o-1", kind="VIEWED"),
                outcome("o-2", rank=2),
                outcome("o-3", rank=3),
                outcome("o-4", decision_id="nowhere"),
                outcome("o-5", decision_id="dry"),
                outcome("o-6", outcome_time=NOW - timedelta(microseconds=1)),
                outcome("o-6", outcome_time=NOW - timedelta(microseconds=1), measures={"effort": 1.0}),
                outcome("o-7", measures={"effort": 1.0}),
            ],
            NOW,
        )
        assert settled.verdicts == [
            "accepted",
            "duplicate",
            "reused",
            "accepted",
            "unknown",
            "unknown",
            "unknown",
            "accepted",
            "reused",
            "accepted",
        ]

    using(opened, tmp_path, exercise)


@every_log
@pytest.mark.parametrize(
    "other",
    [
        {"decision_id": "d-2"},
        {"decision_id": "nowhere"},
        {"rank": 2},
        {"kind": "VIEWED"},
        {"outcome_time": NOW + timedelta(microseconds=1)},
        {"measures": {}},
        {"measures": {"effort": 0.1, "delight": -0.2}},
        {"measures": {"effort": 0.1 + 2**-56, "delight": -0.25}},
    ],
    ids=str,
)
def test_an_outcome_id_stands_for_one_outcome_for_ever(opened, other, tmp_path):
    async def exercise(held):
        await held.log.append(entry())
        await held.log.append(entry("d-2"))
        first = outcome(measures={"effort": 0.1, "delight": -0.25})
        assert (await held.log.record_outcomes([first], NOW)).verdicts == ["accepted"]
        assert (await held.log.record_outcomes([replace(first, **other)], NOW)).verdicts == ["reused"]
        again = replace(first, measures={"delight": -0.25, "effort": 0.1})
        assert (await held.log.record_outcomes([again], NOW + timedelta(days=9))).verdicts == ["duplicate"]

    using(opened, tmp_path, exercise)


@every_log
def test_the_outcomes_of_a_decision_are_told_by_time(opened, tmp_path):
    async def exercise(held):
        await held.log.append(entry())
        await held.log.append(entry("d-2"))
        early = outcome(
            "o-3", outcome_time=NOW - timedelta(days=1), measures={"effort": 1 / 3, "delight": -0.0}
        )
        told = [early, outcome("o-1", rank=2, kind="VIEWED"), outcome("o-2")]
        await held.log.record_outcomes([*reversed(told), outcome("o-4", decision_id="d-2")], NOW)
        assert await held.log.outcomes_of("d-1") == told
        assert await held.log.outcomes_of("nowhere") == []

    using(opened, tmp_path, exercise)


@every_log
def test_of_very_many_outcomes_the_first_are_told(opened, tmp_path):
    async def exercise(held):
        await held.log.append(entry())
        reports = [
            outcome(f"o-{number}", outcome_time=NOW - timedelta(seconds=number))
            for number in range(MOST_OUTCOMES_TOLD + 5)
        ]
        await held.log.record_outcomes(reports, NOW)
        assert await held.log.outcomes_of("d-1") == reports[:4:-1]

    using(opened, tmp_path, exercise)


@every_log
def test_an_outcome_that_was_unknown_may_come_again(opened, tmp_path):
    async def exercise(held):
        assert (await held.log.record_outcomes([outcome()], NOW)).verdicts == ["unknown"]
        await held.log.append(entry())
        assert (await held.log.record_outcomes([outcome()], NOW)).verdicts == ["accepted"]

    using(opened, tmp_path, exercise)


@every_log
def test_the_model_kept_last_is_remembered(opened, tmp_path):
    async def exercise(held):
        await held.log.keep_model(model(version="1"))
        await held.log.keep_model(model(version="2", priors={"Offers \N{SNOWMAN}": 1 / 3}))
        assert await held.log.last_model() == model(version="2", priors={"Offers \N{SNOWMAN}": 1 / 3})

    using(opened, tmp_path, exercise)


def test_a_file_outlives_its_process(tmp_path):
    async def write(held):
        await held.log.append(entry())
        await held.log.record_outcomes([outcome()], NOW)
        await held.log.keep_model(model())

    async def read(held):
        assert (await held.log.find("d-1", live=True)).record == b"whole\0record"
        assert (await held.log.record_outcomes([outcome()], NOW)).verdicts == ["duplicate"]
        assert await held.log.last_model() == model()

    using(sqlite, tmp_path, write)
    using(sqlite, tmp_path, read)


def test_outcomes_of_before_measures_were_carried_stay(tmp_path):
    path = tmp_path / "gateway.sqlite"

    async def before():
        async with Database.open(path, [MIGRATIONS[0].read_text()]) as database:
            row = ("o-1", "d-1", 1, "ACCEPTED", microseconds(NOW), microseconds(NOW))

            def fill(connection):
                decision = ("d-1", "anna", "f", microseconds(NOW), 2, b"whole")
                connection.execute("INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?)", decision)
                connection.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", row)

            await database.write(fill)

    async def after(held):
        assert await held.log.outcomes_of("d-1") == [outcome()]
        assert (await held.log.record_outcomes([outcome()], NOW)).verdicts == ["duplicate"]

    asyncio.run(before())
    using(sqlite, tmp_path, after)


def test_a_closed_file_logs_and_remembers_nothing(tmp_path):
    async def main():
        async with sqlite(tmp_path) as held:
            await held.log.keep_model(model())
        with pytest.raises(NotLogged):
            await held.log.find("d-1", live=True)
        with pytest.raises(NotLogged):
            await held.log.outcomes_of("d-1")
        with pytest.raises(NotLogged):
            await held.log.append(entry())
        with pytest.raises(NotLogged):
            await held.log.record_outcomes([outcome()], NOW)
        await held.log.keep_model(model(version="2"))
        assert await held.log.last_model() is None

    asyncio.run(main())


def test_a_corrupt_file_is_a_log_that_cannot_be_read(tmp_path):
    async def write(held):
        for number in range(100):
            await held.log.append(entry(f"d-{number}", record=bytes(2_000)))

    async def read(held):
        for live in (True, False):
            with pytest.raises(NotLogged):
                await held.log.find("d-50", live)
        assert await held.log.last_model() is None

    using(sqlite, tmp_path, write)
    path = tmp_path / "gateway.sqlite"
    content = bytearray(path.read_bytes())
    content[4_096:] = b"\xff" * (len(content) - 4_096)
    path.write_bytes(content)
    using(sqlite, tmp_path, read)


@pytest.mark.parametrize(
    "description", ["", "{", "[]", "{}", '{"layout": [[1]]}', '{"layout": [], "age": 1}']
)
def test_a_model_that_cannot_be_read_back_is_none(description, tmp_path):
    async def exercise(held):
        await held.database.write(
            lambda connection: connection.execute("INSERT INTO last_model VALUES (1, ?)", (description,))
        )
        assert await held.log.last_model() is None

    using(sqlite, tmp_path, exercise)


def test_dry_runs_never_mix_with_what_trains(tmp_path):
    async def exercise(held):
        await held.log.append(entry())
        await held.log.append(entry("d-2", live=False))

    using(sqlite, tmp_path, exercise)
    with contextlib.closing(sqlite3.connect(tmp_path / "gateway.sqlite")) as store:
        assert store.execute("SELECT decision_id FROM decisions").fetchall() == [("d-1",)]
        assert store.execute("SELECT decision_id FROM dry_run_decisions").fetchall() == [("d-2",)]


def test_the_kept_model_is_plain_json(tmp_path):
    async def exercise(held):
        await held.log.keep_model(model())
        (text,) = held.database.read.execute("SELECT description FROM last_model").fetchone()
        assert json.loads(text)["version"] == "1"

    using(sqlite, tmp_path, exercise)
