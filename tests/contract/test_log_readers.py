"""Commands read the decisions on record in order of time, in every kind of store, and write nothing."""

import asyncio
import tracemalloc
from datetime import timedelta

import databases
import pytest
from decision_logs import NOW, entry, outcome, postgresql, sqlite, using

from services.cli import decision_log
from services.cli.decision_log import Entry, Outcome, count, outcomes, records
from services.cli.failure import Failure
from services.engine.instants import microseconds

every_store = pytest.mark.parametrize("opened", [sqlite, postgresql])


@pytest.fixture(autouse=True)
def _no_store(monkeypatch, tmp_path):
    monkeypatch.delenv("TACT_GATEWAY_STORE", raising=False)
    monkeypatch.setenv("TACT_HOME", str(tmp_path / "nowhere"))


def log_of(held, folder):
    """Name the log of a store, as a command is told it."""
    return getattr(held, "url", str(folder))


async def fill(log, decisions):
    for number, (live, minutes) in enumerate(decisions):
        made = entry(
            f"d-{number:03}",
            live=live,
            record_time=NOW + timedelta(minutes=minutes),
            record=b"%d\0" % number,
            offers=(),
        )
        await log.append(made)


@every_store
def test_decisions_come_in_order_of_time_and_live_ones_first(opened, tmp_path):
    async def exercise(held):
        await fill(held.log, [(True, 5), (False, 1), (True, 3), (False, 3), (False, 9), (True, -7)])
        return await asyncio.to_thread(lambda: list(records(log_of(held, tmp_path))))

    found = using(opened, tmp_path, exercise)
    assert [one.decision_id for one in found] == ["d-005", "d-001", "d-002", "d-003", "d-000", "d-004"]
    assert found[2] == Entry(live=True, decision_id="d-002", record=b"2\0")
    assert found[3] == Entry(live=False, decision_id="d-003", record=b"3\0")


@every_store
def test_more_than_one_look_takes_finds_each_once(opened, tmp_path):
    decisions = [(number % 3 == 0, number // 40) for number in range(250)]

    async def exercise(held):
        await fill(held.log, decisions)
        return await asyncio.to_thread(lambda: list(records(log_of(held, tmp_path))))

    found = using(opened, tmp_path, exercise)
    minute = {f"d-{number:03}": number // 40 for number in range(250)}
    assert {one.decision_id for one in found} == minute.keys()
    assert len(found) == 250
    times = [minute[one.decision_id] for one in found]
    assert times == sorted(times)


@every_store
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [({}, {"d-000", "d-001"}), ({"dry": False}, {"d-000"}), ({"live": False}, {"d-001"})],
    ids=["all", "live", "dry"],
)
def test_live_and_dry_decisions_can_be_left_out(opened, wanted, expected, tmp_path):
    async def exercise(held):
        await fill(held.log, [(True, 0), (False, 1)])
        log = log_of(held, tmp_path)
        return await asyncio.to_thread(lambda: (list(records(log, **wanted)), count(log, **wanted)))

    found, counted = using(opened, tmp_path, exercise)
    assert {one.decision_id for one in found} == expected
    assert counted == len(expected)


@every_store
def test_what_is_written_meanwhile_is_left_out(opened, tmp_path):
    async def exercise(held):
        await fill(held.log, [(True, 0)] * 40)
        found = await asyncio.to_thread(records, log_of(held, tmp_path))
        first = await asyncio.to_thread(next, found)
        await held.log.append(entry("later", record_time=NOW + timedelta(days=1), offers=()))
        return [first, *await asyncio.to_thread(list, found)]

    assert [one.decision_id for one in using(opened, tmp_path, exercise)] == [
        f"d-{number:03}" for number in range(40)
    ]


@every_store
def test_outcomes_are_read_as_they_were_reported(opened, tmp_path):
    async def exercise(held):
        await held.log.append(entry())
        await held.log.record_outcomes(
            [outcome("o-1", measures={"effort": 0.1}), outcome("o-2", rank=2, kind="VIEWED")], NOW
        )
        return await asyncio.to_thread(lambda: list(outcomes(log_of(held, tmp_path))))

    at = microseconds(NOW)
    assert using(opened, tmp_path, exercise) == [
        Outcome("d-1", 1, "ACCEPTED", at, {"effort": 0.1}),
        Outcome("d-1", 2, "VIEWED", at, {}),
    ]


def test_memory_is_bounded_by_a_few_records(tmp_path):
    async def exercise(held):
        for number in range(400):
            await held.log.append(entry(f"d-{number}", record=bytes(100_000), offers=()))

    using(sqlite, tmp_path, exercise)
    tracemalloc.start()
    try:
        assert sum(len(one.record) for one in records(str(tmp_path))) == 40_000_000
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_store_that_nobody_uses_gets_no_files_beside_it(tmp_path):
    using(sqlite, tmp_path, lambda held: fill(held.log, [(True, 0)]))
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.sqlite"]
    assert len(list(records(str(tmp_path)))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.sqlite"]


def test_what_another_process_has_not_folded_in_yet_is_read(tmp_path):
    """A process that was killed leaves its last decisions in the write-ahead log."""

    async def exercise(held):
        await fill(held.log, [(True, 0), (False, 0)])
        for name in ("gateway.sqlite", "gateway.sqlite-wal"):
            (tmp_path / "killed").mkdir(exist_ok=True)
            (tmp_path / "killed" / name).write_bytes((tmp_path / name).read_bytes())

    using(sqlite, tmp_path, exercise)
    assert len(list(records(str(tmp_path / "killed")))) == 2


def test_the_usual_log_is_that_of_a_gateway_here(tmp_path, monkeypatch):
    monkeypatch.setenv("TACT_HOME", str(tmp_path))
    using(sqlite, tmp_path, lambda held: fill(held.log, [(True, 0)]))
    assert count(None) == 1
    assert decision_log.home_of(None) == tmp_path
    monkeypatch.setenv("TACT_GATEWAY_STORE", "postgresql://nobody:secret@127.0.0.1:1/gateway")
    with pytest.raises(Failure, match=r"^PostgreSQL gateway: ") as raised:
        count(None)
    assert "secret" not in str(raised.value)
    assert decision_log.home_of(None) == tmp_path


def test_a_database_without_a_decision_log_is_none():
    with databases.postgresql() as url, pytest.raises(Failure, match="is no decision log"):
        records(url)


def test_what_is_no_url_is_said_to_be_none_without_its_secret():
    with pytest.raises(Failure) as raised:
        records("postgresql://user:secret@[")
    assert "secret" not in str(raised.value)


def test_a_reader_cannot_write(tmp_path):
    async def exercise(held):
        await fill(held.log, [(True, 0)])
        reader = await asyncio.to_thread(decision_log.reader_of, log_of(held, tmp_path))
        with pytest.raises(Failure):
            await asyncio.to_thread(reader._rows, "DELETE FROM decisions RETURNING 1", ())
        return await asyncio.to_thread(count, log_of(held, tmp_path))

    for opened in (sqlite, postgresql):
        assert using(opened, tmp_path, exercise) == 1


def test_a_path_with_signs_of_a_uri_is_a_path(tmp_path):
    folder = tmp_path / "a?b#c %41"
    folder.mkdir()
    using(sqlite, folder, lambda held: fill(held.log, [(True, 0)]))
    assert count(str(folder)) == 1
    assert [path.name for path in folder.iterdir()] == ["gateway.sqlite"]
