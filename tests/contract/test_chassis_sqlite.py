import asyncio
import concurrent.futures
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.deadline import answering
from services.chassis.sqlite import Database, StoreUnavailable, WriteQueueFull

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 30.0
MIGRATIONS = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE note (text TEXT); INSERT INTO note VALUES ('a;b'); -- and; no more\n",
)


def run(main):
    async def bounded():
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await main()

    return asyncio.run(bounded())


def insert(number, value="x"):
    return lambda connection: connection.execute("INSERT INTO item VALUES (?, ?)", (number, value)).lastrowid


def items(connection):
    return connection.execute("SELECT id, value FROM item ORDER BY id").fetchall()


def stored(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return items(connection)


@contextlib.asynccontextmanager
async def held(database):
    """Keep the writer busy, so that everything written inside the block forms one group."""
    entered, release = threading.Event(), threading.Event()

    def hold(connection):
        entered.set()
        release.wait(PATIENCE_SECONDS)

    holding = asyncio.ensure_future(database.write(hold))
    await asyncio.to_thread(entered.wait, PATIENCE_SECONDS)
    yield
    release.set()
    await holding


async def queued(*writes):
    """Queue writes and return their tasks."""
    tasks = [asyncio.ensure_future(write) for write in writes]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize("durable", [True, False])
def test_a_write_returns_its_result_and_is_visible_to_the_next_read(tmp_path, durable):
    async def main():
        async with Database.open(tmp_path / "new" / "a.db", MIGRATIONS) as database:
            result = await database.write(insert(7), durable=durable)
            return result, items(database.read)

    assert run(main) == (7, [(7, "x")])


def test_closing_does_what_is_queued_and_folds_the_log_into_the_file(tmp_path):
    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            tasks = await queued(*(database.write(insert(number), durable=False) for number in range(2000)))
        await asyncio.gather(*tasks)
        with pytest.raises(StoreUnavailable, match=r"a\.db is closed"):
            await database.write(insert(9999))

    run(main)
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]
    assert len(stored(tmp_path / "a.db")) == 2000


def test_closing_folds_the_log_even_while_another_process_reads(tmp_path):
    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            await database.write(insert(1))
            other = sqlite3.connect(database.path)
            return other, items(other)

    other, seen = run(main)
    assert seen == [(1, "x")]
    assert (tmp_path / "a.db-wal").stat().st_size == 0
    other.close()


def test_the_reader_cannot_write(tmp_path):
    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            with pytest.raises(StoreUnavailable, match="readonly"):
                database.read.execute("DELETE FROM item")

    run(main)


Operation = st.tuples(
    st.integers(0, 5), st.sampled_from(["insert", "delete", "raise", "violate"]), st.booleans()
)


class Refused(Exception):
    pass


def operate(connection, number, kind, serial):
    if kind == "delete":
        connection.execute("DELETE FROM item WHERE id = ?", (number,))
        return
    connection.execute("INSERT OR REPLACE INTO item VALUES (?, ?)", (number, str(serial)))
    if kind == "raise":
        raise Refused(serial)
    if kind == "violate":
        connection.execute("INSERT INTO item VALUES (99, NULL)")


@settings(max_examples=60, deadline=None)
@given(operations=st.lists(Operation, max_size=30), gap=st.integers(1, 30))
def test_a_group_equals_its_succeeding_members_one_by_one(tmp_path_factory, operations, gap):
    path = tmp_path_factory.mktemp("group") / "a.db"

    async def main():
        async with Database.open(path, MIGRATIONS) as database:
            outcomes = []
            for start in range(0, len(operations), gap):
                outcomes += await asyncio.gather(
                    *(
                        database.write(
                            lambda connection, number=number, kind=kind, serial=start + offset: operate(
                                connection, number, kind, serial
                            ),
                            durable=durable,
                        )
                        for offset, (number, kind, durable) in enumerate(operations[start : start + gap])
                    ),
                    return_exceptions=True,
                )
            return outcomes

    expected = sqlite3.connect(":memory:")
    expected.executescript(MIGRATIONS[0])
    errors = {"raise": Refused, "violate": sqlite3.IntegrityError}
    outcomes = run(main)
    for serial, (number, kind, _) in enumerate(operations):
        if kind in errors:
            assert isinstance(outcomes[serial], errors[kind])
        else:
            assert outcomes[serial] is None
            operate(expected, number, kind, serial)
    assert stored(path) == items(expected)
    expected.close()


def test_an_exhausted_iterator_inside_a_write_does_not_stop_the_writer(tmp_path):
    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            with pytest.raises(RuntimeError):
                await database.write(lambda connection: next(iter(())))
            return await database.write(insert(1))

    assert run(main) == 1


def test_a_cancelled_caller_does_not_break_the_writer(tmp_path):
    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            async with held(database):
                first, second = await queued(database.write(insert(1)), database.write(insert(2)))
                first.cancel()
                await asyncio.wait({first})
            return first.cancelled(), await second

    assert run(main) == (True, 2)


def test_a_full_queue_refuses_and_says_so(tmp_path):
    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS, queue_limit=3) as database:
            async with held(database):
                waiting = await queued(*(database.write(insert(number)) for number in range(3)))
                depth = database.queue_depth
                with pytest.raises(WriteQueueFull, match=r"a\.db: 3 writes are waiting"):
                    await database.write(insert(4))
            await asyncio.gather(*waiting)
            return depth, database.queue_limit, database.queue_depth

    assert run(main) == (3, 3, 0)


def test_when_the_store_is_full_no_member_of_the_group_is_acknowledged(tmp_path):
    def shrink(connection):
        connection.execute("PRAGMA max_page_count = 10")

    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            await database.write(shrink)
            async with held(database):
                tasks = await queued(
                    database.write(insert(1)),
                    database.write(insert(2, "x" * 100_000)),
                    database.write(insert(3)),
                )
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            await database.write(insert(4))
            return [str(outcome) for outcome in outcomes], items(database.read)

    assert run(main) == (["a.db: database or disk is full"] * 3, [(4, "x")])


def test_when_another_process_holds_the_file_the_group_fails_and_the_writer_recovers(tmp_path):
    def hurry(connection):
        connection.execute("PRAGMA busy_timeout = 0")

    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            await database.write(hurry)
            with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(StoreUnavailable, match=r"a\.db: database is locked"):
                    await database.write(insert(1))
                other.execute("ROLLBACK")
            return await database.write(insert(2))

    assert run(main) == 2


def test_a_write_that_cannot_begin_in_time_is_refused_and_never_done(tmp_path):
    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            async with held(database):
                other = asyncio.ensure_future(database.write(insert(2)))
                with (
                    answering(lambda: 0.0),
                    pytest.raises(StoreUnavailable, match=r"a\.db: no turn to write"),
                ):
                    await database.write(insert(1))
            await other
            await database.write(insert(3))
            return items(database.read)

    assert run(main) == [(2, "x"), (3, "x")]


def test_while_the_file_is_locked_calls_are_refused_in_time(tmp_path):
    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with answering(lambda: 0.1):
                    refused = await asyncio.gather(
                        *(database.write(insert(number)) for number in range(20)), return_exceptions=True
                    )
                other.execute("ROLLBACK")
            await database.write(insert(99))
            return {str(error) for error in refused}, items(database.read)

    said, kept = run(main)
    assert said == {"a.db: no turn to write in time, the file is locked or slow"}
    assert kept == [(99, "x")]


def test_a_write_that_has_begun_is_waited_for_whatever_the_deadline(tmp_path):
    begun, release = threading.Event(), threading.Event()

    def linger(connection):
        begun.set()
        release.wait(PATIENCE_SECONDS)
        return insert(1)(connection)

    async def main():
        late = asyncio.Event()

        def remaining():
            asyncio.get_running_loop().call_later(0.02, late.set)
            return 0.02

        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            with answering(remaining):
                writing = asyncio.ensure_future(database.write(linger))
                await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
                await late.wait()
            release.set()
            return await writing, items(database.read)

    assert run(main) == (1, [(1, "x")])


@pytest.mark.parametrize("fetch", ["fetchone", "fetchall"])
def test_a_read_from_a_broken_page_is_a_store_that_cannot_be_read(tmp_path, fetch):
    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            for number in range(100):
                await database.write(insert(number, "x" * 1_000))
        content = bytearray((tmp_path / "a.db").read_bytes())
        # The last page, which a scan comes to long after its first row.
        content[-4_096:] = b"\xff" * 4_096
        (tmp_path / "a.db").write_bytes(content)
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            rows = database.read.execute("SELECT id, value FROM item ORDER BY id")
            while getattr(rows, fetch)():
                pass

    with pytest.raises(StoreUnavailable, match=r"a\.db: database disk image is malformed"):
        run(main)


def test_a_text_that_is_none_any_more_is_not_quoted(tmp_path):
    def garble(connection):
        connection.execute("UPDATE note SET text = CAST(? AS TEXT)", (b"SECRET\xff",))

    def read(connection):
        return connection.execute("SELECT text FROM note").fetchall()

    async def main():
        async with Database.open(tmp_path / "a.db", MIGRATIONS) as database:
            await database.write(garble)
            with pytest.raises(StoreUnavailable) as reading:
                read(database.read)
            with pytest.raises(StoreUnavailable) as writing:
                await database.write(read)
            said = str(reading.value), str(writing.value)
            # A statement that failed halfway would pin what later ones see.
            await database.write(lambda connection: connection.execute("UPDATE note SET text = 'mended'"))
            return said, read(database.read)

    assert run(main) == (("a.db: something in it cannot be read back",) * 2, [("mended",)])


def versions(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def open_and_close(path, migrations):
    async def main():
        async with Database.open(path, migrations) as database:
            return database.read.execute("SELECT count(*) FROM note").fetchone()[0]

    return run(main)


def test_migrations_are_applied_once_and_in_order(tmp_path):
    path = tmp_path / "a.db"
    trigger = (
        "CREATE TRIGGER t AFTER INSERT ON item BEGIN DELETE FROM note; INSERT INTO note VALUES ('t'); END;"
    )
    assert open_and_close(path, MIGRATIONS) == 1
    assert open_and_close(path, (*MIGRATIONS, trigger)) == 1
    assert versions(path) == 3


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.db"
    broken = "INSERT INTO note VALUES ('half'); INSERT INTO nowhere VALUES (1)"
    open_and_close(path, MIGRATIONS)
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        open_and_close(path, (*MIGRATIONS, broken))
    assert versions(path) == 2
    assert open_and_close(path, MIGRATIONS) == 1


def test_a_file_of_a_newer_version_is_refused(tmp_path):
    open_and_close(tmp_path / "a.db", (*MIGRATIONS, "SELECT 1"))
    with pytest.raises(StoreUnavailable, match=r"a\.db has schema version 3, this program knows 2"):
        open_and_close(tmp_path / "a.db", MIGRATIONS)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "a.db").write_text("anything but a database, and long enough to look like one" * 100)
    with pytest.raises(StoreUnavailable, match=r"a\.db: file is not a database"):
        open_and_close(tmp_path / "a.db", MIGRATIONS)


def test_a_migration_that_does_not_fit_on_the_disk_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.db"
    open_and_close(path, MIGRATIONS)
    greedy = "PRAGMA max_page_count = 10; INSERT INTO note VALUES (zeroblob(100000))"
    with pytest.raises(StoreUnavailable, match=r"a\.db: database or disk is full"):
        open_and_close(path, (*MIGRATIONS, greedy))
    assert open_and_close(path, MIGRATIONS) == 1


def test_many_may_open_a_new_file_at_once(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        opened = [pool.submit(open_and_close, tmp_path / "a.db", MIGRATIONS) for _ in range(8)]
    assert [each.result() for each in opened] == [1] * 8


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    with start("acknowledge", tmp_path / "a.db") as process:
        acknowledged = [process.stdout.readline() for _ in range(300)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read().splitlines(keepends=True)
    present = {number for number, _ in stored(tmp_path / "a.db")}
    missing = {int(line) for line in acknowledged if line.endswith("\n")} - present
    assert not missing
    assert len(present) >= 300


def require_strace():
    works = (
        shutil.which("strace")
        and subprocess.run(["strace", "-f", "true"], capture_output=True).returncode == 0
    )
    if not works:
        message = "strace is absent or not permitted"
        if os.environ.get("TACT_REQUIRE_SERVERS") == "1":
            pytest.fail(message)
        pytest.skip(message)


@contextlib.contextmanager
def traced(mode, path, *options):
    """Run one mode of this file under strace; yields its process and a reader of the trace."""
    require_strace()
    open_and_close(path, MIGRATIONS)
    trace = path.with_name("trace")
    process = start(mode, path, "strace", "-f", "-y", "-s", "16", "-o", str(trace), *options)

    def marks():
        """The acknowledgements and the syncs of the log, in order, repetitions left out."""
        found = []
        for line in trace.read_text().splitlines():
            mark = "sync" if "sync(" in line and "a.db-wal>" in line else ""
            mark = "acknowledged" if "acknowledged" in line else mark
            if mark and found[-1:] != [mark]:
                found.append(mark)
        return found

    with process:
        yield process, marks
    assert process.returncode == 0


def await_sync(marks):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while marks()[-2:] != ["acknowledged", "sync"]:
        assert time.monotonic() < deadline, "no sync"


SYNCS_AND_WRITES = ("-e", "trace=fdatasync,fsync,write")


def test_a_durable_write_is_synced_before_it_is_acknowledged(tmp_path):
    with traced("durable", tmp_path / "a.db", *SYNCS_AND_WRITES) as (process, marks):
        assert process.communicate()[0].split() == ["acknowledged"] * 5
        assert marks()[:10] == ["sync", "acknowledged"] * 5


def test_any_other_write_is_synced_without_being_asked(tmp_path):
    with traced("swift", tmp_path / "a.db", *SYNCS_AND_WRITES) as (process, marks):
        assert process.stdout.readline() == "acknowledged\n"
        await_sync(marks)
        assert process.communicate("go on")[0] == "acknowledged\n"


def test_a_durable_write_that_cannot_be_synced_is_not_acknowledged(tmp_path):
    failing = ("-e", "inject=fdatasync,fsync:error=EIO")
    with traced("durable", tmp_path / "a.db", *SYNCS_AND_WRITES, *failing) as (process, _):
        assert process.communicate()[0].split() == ["StoreUnavailable"] * 5


def test_after_one_failed_sync_of_a_durable_write_nothing_more_is_acknowledged(tmp_path):
    failing = ("-e", "inject=fdatasync,fsync:error=EIO:when=3")
    with traced("durable", tmp_path / "a.db", *SYNCS_AND_WRITES, *failing) as (process, _):
        answers = process.communicate()[0].split()
    assert len(answers) == 5
    first = answers.index("StoreUnavailable")
    assert answers[first:] == ["StoreUnavailable"] * (5 - first)


def test_after_a_late_sync_failed_nothing_more_is_acknowledged(tmp_path):
    # The first sync of the thread is SQLite's own, for the header of a new log.
    failing = ("-e", "inject=fdatasync,fsync:error=EIO:when=2+")
    with traced("swift", tmp_path / "a.db", *SYNCS_AND_WRITES, *failing) as (process, marks):
        assert process.stdout.readline() == "acknowledged\n"
        await_sync(marks)
        assert process.communicate("go on")[0] == "StoreUnavailable\n"


def start(mode, path, *prefix):
    return subprocess.Popen(
        [*prefix, sys.executable, __file__, mode, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def say(text):
    os.write(1, f"{text}\n".encode())


async def attempt(database, number, durable):
    try:
        await database.write(insert(number), durable=durable)
        say("acknowledged")
    except StoreUnavailable:
        say("StoreUnavailable")


async def acknowledge(path):
    """Print the number of each write once it is acknowledged, until killed."""

    async def write(lane):
        for number in range(lane, 10_000_000, 8):
            await database.write(insert(number), durable=lane % 2 == 0)
            say(number)

    async with Database.open(path, MIGRATIONS) as database:
        await asyncio.gather(*(write(lane) for lane in range(8)))


async def durable(path):
    async with Database.open(path, MIGRATIONS) as database:
        for number in range(5):
            await attempt(database, number, durable=True)


async def swift(path):
    """Write once, and once more when told to."""
    async with Database.open(path, MIGRATIONS) as database:
        await attempt(database, 1, durable=False)
        await asyncio.to_thread(sys.stdin.read)
        await attempt(database, 2, durable=False)


if __name__ == "__main__":
    asyncio.run(
        {"acknowledge": acknowledge, "durable": durable, "swift": swift}[sys.argv[1]](Path(sys.argv[2]))
    )
