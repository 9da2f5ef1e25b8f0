"""A real PostgreSQL under ``chassis.postgres``: what is acknowledged is there, what fails says so in time."""

import asyncio
import contextlib
import logging
import random
import re
import socket
import time
import traceback

import databases
import pytest
from detours import Detour

from services.chassis.deadline import answering
from services.chassis.postgres import Postgres, StoreUnavailable, WriteQueueFull

PATIENCE_SECONDS = 60.0
HIDDEN = "hush-hush"
MIGRATIONS = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE note (text TEXT); INSERT INTO note VALUES ('100%; all')",
)


def run(main):
    async def bounded():
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await main()

    return asyncio.run(bounded())


@pytest.fixture
def url():
    with databases.postgresql() as url:
        yield url


def opened(url, migrations=MIGRATIONS, **options):
    return Postgres.open(url, migrations, schema="test", **options)


def insert(number, value="x"):
    async def work(connection):
        await connection.execute("INSERT INTO item VALUES (%s, %s)", (number, value))
        return number

    return work


def asking(query, *parameters):
    async def work(connection):
        return await (await connection.execute(query, parameters or None)).fetchall()

    return work


items = asking("SELECT id, value FROM item ORDER BY id")
backend = asking("SELECT pg_backend_pid()")


def stored(url):
    with databases.administrator(url) as server:
        return server.execute("SELECT id, value FROM item ORDER BY id").fetchall()


@contextlib.contextmanager
def hurried(seconds):
    """Make calls whose caller waits so long; they must end earlier."""
    end = time.monotonic() + seconds
    with answering(lambda: end - time.monotonic()):
        yield
    assert time.monotonic() < end


@contextlib.asynccontextmanager
async def held(postgres):
    """Keep a connection lent."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def hold(connection):
        entered.set()
        await release.wait()

    holding = asyncio.create_task(postgres.read(hold))
    await entered.wait()
    try:
        yield
    finally:
        release.set()
        await holding


async def recovered(postgres):
    """Wait until a write succeeds again; returns how many attempts that took."""
    for attempt in range(1, 1_000):
        try:
            await postgres.write(insert(1_000 + attempt))
        except StoreUnavailable:
            await asyncio.sleep(0.01)
        else:
            return attempt
    raise AssertionError


# What is written is there.


@pytest.mark.parametrize("durable", [True, False])
def test_a_write_returns_its_result_and_is_visible_to_the_next_read(url, durable):
    async def main():
        async with opened(url) as postgres:
            return await postgres.write(insert(7), durable=durable), await postgres.read(items)

    assert run(main) == (7, [(7, "x")])


@pytest.mark.parametrize(("seconds", "is_known"), [(0.0, True), (60.0, False)])
def test_a_plan_of_a_small_table_does_not_outlive_its_growth(seconds, is_known, url, monkeypatch):
    monkeypatch.setattr("services.chassis.postgres._PLAN_SECONDS", seconds)
    some = asking("SELECT value FROM item WHERE id > %s", 5)
    named = asking("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%id > $1%'")

    def fill(first, last):
        rows = "INSERT INTO item SELECT n, 'x' FROM generate_series(%s::int, %s::int) n"
        return lambda connection: connection.execute(rows, (first, last))

    async def main():
        async with opened(url, connections=1) as postgres:
            await postgres.write(fill(1, 3))
            await postgres.read(lambda c: c.execute("ANALYZE item"))
            for _ in range(10):
                await postgres.read(some)
            await postgres.write(fill(4, 30_000))
            ((name,),) = await postgres.read(named)
            return await postgres.read(asking(f"EXPLAIN EXECUTE {name} (5)"))

    (first, *_) = run(main)
    rows = int(re.search(r"rows=(\d+)", first[0])[1])
    # By the three that were counted, and by the size of the file.
    assert (rows > 10) == is_known


def test_a_write_that_raises_is_undone_and_its_connection_serves_on(url):
    async def work(connection):
        await insert(1)(connection)
        raise ZeroDivisionError

    async def main():
        async with opened(url, connections=1) as postgres:
            before = await postgres.read(backend)
            with pytest.raises(ZeroDivisionError):
                await postgres.write(work)
            with pytest.raises(StoreUnavailable, match=r"NotNullViolation$"):
                await postgres.write(insert(2, None))
            assert await postgres.read(items) == []
            assert await postgres.read(backend) == before

    run(main)


def test_a_failure_that_was_swallowed_is_not_acknowledged(url):
    async def work(connection):
        with contextlib.suppress(Exception):
            await insert(1, None)(connection)

    async def main():
        async with opened(url) as postgres:
            with pytest.raises(StoreUnavailable, match="the transaction was undone"):
                await postgres.write(work)

    run(main)


def test_what_is_acknowledged_is_on_disk_and_durable_writes_wait_for_standbys(url):
    async def main():
        async with opened(url) as postgres:
            for durable, level in ((True, "on"), (False, "local")):
                shown = await postgres.write(asking("SHOW synchronous_commit"), durable=durable)
                assert shown == [(level,)]

    run(main)


def test_transactions_are_at_read_committed_whatever_the_server_prefers(url):
    with databases.administrator(url) as server:
        name = server.info.dbname
        server.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")

    async def main():
        async with opened(url) as postgres:
            assert await postgres.write(asking("SHOW transaction_isolation")) == [("read committed",)]

    run(main)


def test_a_cancelled_caller_leaves_a_connection_that_serves_on(url):
    async def work(connection):
        await connection.execute("SELECT pg_sleep(0.2)")
        return await insert(1)(connection)

    async def main():
        async with opened(url, connections=1) as postgres:
            before = await postgres.read(backend)
            calling = asyncio.create_task(postgres.write(work))
            await asyncio.sleep(0.1)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            assert await postgres.read(items) == [(1, "x")]
            assert await postgres.read(backend) == before

    run(main)


def test_closing_does_what_was_begun(url):
    async def main():
        async with opened(url, connections=2) as postgres:
            tasks = [asyncio.create_task(postgres.write(insert(number))) for number in range(50)]
            await asyncio.sleep(0)
            assert postgres.is_writable
        assert await asyncio.gather(*tasks) == list(range(50))
        assert not postgres.is_writable
        with pytest.raises(StoreUnavailable, match="is closed"):
            await postgres.write(insert(99))

    run(main)
    assert len(stored(url)) == 50


# Bringing a database up to date.


def test_processes_that_start_at_once_migrate_once(url):
    slow = (*MIGRATIONS, "SELECT pg_sleep(0.2)", "INSERT INTO item VALUES (1, 'once')")

    async def main():
        async def one():
            async with opened(url, slow) as postgres:
                return await postgres.read(items)

        return await asyncio.gather(*(one() for _ in range(8)))

    assert run(main) == [[(1, "once")]] * 8


def test_a_migration_is_applied_whole_or_not_at_all(url):
    async def main():
        broken = (*MIGRATIONS, "INSERT INTO item VALUES (1, 'x'); INSERT INTO item VALUES (1, 'y')")
        with pytest.raises(StoreUnavailable, match=r"UniqueViolation$"):
            async with opened(url, broken):
                pass
        async with opened(url) as postgres:
            assert await postgres.read(items) == []
            assert await postgres.read(asking("SELECT text FROM note")) == [("100%; all",)]

    run(main)


def test_a_newer_database_is_refused(url):
    async def main():
        async with opened(url):
            pass
        with pytest.raises(StoreUnavailable, match=r"has version 2 .* knows 1: a newer version wrote it"):
            async with opened(url, MIGRATIONS[:1]):
                pass

    run(main)


def test_services_share_a_database(url):
    async def main():
        async with opened(url), Postgres.open(url, ["CREATE TABLE other ()"], schema="other") as other:
            assert await other.read(asking("SELECT * FROM other")) == []
        async with opened(url):
            pass

    run(main)


def test_services_that_start_at_once_on_an_empty_database_keep_their_tables_apart(url):
    def tables(name):
        return [
            f"CREATE SCHEMA {name}; CREATE TABLE item (name TEXT); SELECT pg_sleep(0.05)",
            "INSERT INTO item SELECT current_schema()",
        ]

    async def main():
        async def one(name):
            async with Postgres.open(url, tables(name), schema=name) as postgres:
                return await postgres.read(asking("SELECT name FROM item"))

        return await asyncio.gather(*map(one, ["one", "two", "three"] * 3))

    assert run(main) == [[(name,)] for name in ["one", "two", "three"] * 3]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_every_text_is_refused(encoding):
    with databases.postgresql(f"ENCODING '{encoding}' LOCALE 'C'") as url:

        async def main():
            with pytest.raises(StoreUnavailable, match=f"its encoding is {encoding}, not UTF8"):
                async with opened(url):
                    pass

        run(main)


# What fails.


@pytest.mark.parametrize("work", [items, insert(2)], ids=["read", "write"])
def test_connections_that_were_ended_while_idle_cost_nothing(url, work):
    async def main():
        async with opened(url) as postgres:
            await asyncio.gather(*(postgres.read(asking("SELECT pg_sleep(0.1)")) for _ in range(8)))
            assert await asyncio.to_thread(databases.terminate, url) == 8
            with hurried(3.0):
                await getattr(postgres, "read" if work is items else "write")(work)

    run(main)


def test_a_write_whose_connection_is_ended_in_its_midst_is_begun_again(url):
    pids = []

    async def work(connection):
        pids.extend(await backend(connection))
        await insert(1)(connection)
        if len(pids) == 1:
            await asyncio.to_thread(databases.terminate, url)
        await insert(2)(connection)

    async def main():
        async with opened(url) as postgres:
            await postgres.write(work)

    run(main)
    assert stored(url) == [(1, "x"), (2, "x")]
    assert len(set(pids)) == 2


def test_what_always_ends_its_connection_is_given_up(url):
    tries = []

    async def work(connection):
        tries.append(1)
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def main():
        async with opened(url) as postgres:
            for ask in (postgres.read, postgres.write):
                tries.clear()
                with pytest.raises(StoreUnavailable, match="terminating connection"):
                    await ask(work)
                assert 1 < len(tries) < 10
            assert await recovered(postgres) == 1

    run(main)


def test_nobody_claims_to_know_what_became_of_a_commit_that_was_cut_off(url):
    cutting = """
        CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON item
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cut();
    """

    async def main():
        async with opened(url, (*MIGRATIONS, cutting)) as postgres:
            with pytest.raises(StoreUnavailable, match="during the commit, which may have been done"):
                await postgres.write(insert(1))
            assert await postgres.read(items) == []

    run(main)


def test_who_deadlocks_is_served_after_the_other(url):
    async def main():
        both = asyncio.Barrier(2)
        tries = []

        def crossing(first, second):
            async def work(connection):
                tries.append(1)
                await connection.execute("UPDATE item SET value = value || 'y' WHERE id = %s", (first,))
                if len(tries) <= 2:
                    await both.wait()
                await connection.execute("UPDATE item SET value = value || 'y' WHERE id = %s", (second,))

            return work

        async with opened(url) as postgres:
            await postgres.write(insert(1))
            await postgres.write(insert(2))
            await asyncio.gather(postgres.write(crossing(1, 2)), postgres.write(crossing(2, 1)))
            assert await postgres.read(items) == [(1, "xyy"), (2, "xyy")]
            assert len(tries) >= 3

    run(main)


def test_who_waits_for_a_lock_hears_in_time_and_is_not_served_later(url):
    async def main():
        async with opened(url, connections=1) as postgres:
            before = await postgres.read(backend)
            with databases.administrator(url) as other, other.transaction():
                other.execute("LOCK TABLE item")
                with pytest.raises(StoreUnavailable, match="no answer in time"), hurried(0.5):
                    await postgres.write(insert(1))
            assert await postgres.read(items) == []
            assert await postgres.read(backend) == before

    run(main)


def test_without_a_deadline_a_lock_is_waited_for_as_long_as_a_file(url):
    async def main():
        async with opened(url) as postgres:
            with databases.administrator(url) as other, other.transaction():
                other.execute("LOCK TABLE item")
                started = time.monotonic()
                with pytest.raises(StoreUnavailable, match="no answer in time"):
                    await postgres.write(insert(1))
                assert 4 < time.monotonic() - started < 6

    run(main)


def test_more_callers_than_may_wait_are_refused_and_the_others_served_in_turn(url):
    async def main():
        async with opened(url, connections=1, queue_limit=3) as postgres:
            async with held(postgres):
                waiting = [asyncio.create_task(postgres.write(insert(number))) for number in range(3)]
                await asyncio.sleep(0.05)
                assert postgres.queue_depth == postgres.queue_limit == 3
                with pytest.raises(WriteQueueFull, match="3 callers are waiting"):
                    await postgres.write(insert(9))
                with pytest.raises(WriteQueueFull):
                    await postgres.read(items)
            assert await asyncio.gather(*waiting) == [0, 1, 2]
            assert postgres.queue_depth == 0
            order = await postgres.read(asking("SELECT id FROM item ORDER BY xmin::text::bigint"))
            assert order == [(0,), (1,), (2,)]

    run(main)


def test_who_waits_for_a_connection_hears_in_time_and_is_not_served_later(url):
    async def main():
        async with opened(url, connections=1) as postgres:
            async with held(postgres):
                with pytest.raises(StoreUnavailable, match="no connection in time"), hurried(0.3):
                    await postgres.write(insert(1))
                assert postgres.queue_depth == 0
            assert await postgres.read(items) == []

    run(main)


def test_a_server_that_is_gone_says_so_at_once():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def main():
        with pytest.raises(StoreUnavailable, match=r"^PostgreSQL a: Connection refused$"), hurried(2.0):
            async with opened(f"postgresql://127.0.0.1:{port}/a"):
                pass

    run(main)


def test_a_server_that_refuses_connections_is_asked_again_with_each_call(url):
    name = url.rpartition("/")[2]

    async def main():
        async with opened(url) as postgres:
            with databases.administrator() as server:
                server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                server.execute(query, (name,))
                for _ in range(3):
                    with pytest.raises(StoreUnavailable, match="not currently accepting"), hurried(2.0):
                        await postgres.write(insert(1))
                asked = [asyncio.create_task(postgres.write(insert(number))) for number in range(50)]
                done, waiting = await asyncio.wait(asked, timeout=2.0)
                assert not waiting
                assert all(isinstance(task.exception(), StoreUnavailable) for task in done)
                server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            with hurried(2.0):
                await recovered(postgres)

    run(main)


def test_with_fewer_connections_than_wanted_all_are_served(url):
    with databases.administrator(url) as server:
        name, role = server.info.dbname, f"role_of_{server.info.dbname}"
        server.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
        server.execute(f"GRANT ALL ON DATABASE {name} TO {role}; GRANT ALL ON SCHEMA public TO {role}")

    async def main():
        async with opened(databases.by_way_of(url, username=role)) as postgres:
            numbers = range(200)
            assert await asyncio.gather(*(postgres.write(insert(number)) for number in numbers)) == [*numbers]

    try:
        run(main)
        assert len(stored(url)) == 200
    finally:
        with databases.administrator(url) as server:
            server.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_server_that_only_reads_is_left_for_another(url):
    name = url.rpartition("/")[2]

    async def main():
        async with opened(url) as postgres:
            with databases.administrator() as server:
                setting = f"ALTER DATABASE {name} SET default_transaction_read_only"
                server.execute(f"{setting} = on")
                await asyncio.to_thread(databases.terminate, url)
                with pytest.raises(StoreUnavailable, match="read-only"):
                    await postgres.write(insert(1))
                assert await postgres.read(items) == []
                server.execute(f"{setting} = off")
            assert await recovered(postgres) == 1

    run(main)


# A path that falls silent.


@pytest.mark.parametrize("work", [items, insert(2)], ids=["read", "write"])
def test_a_server_that_falls_silent_is_named_in_time_and_comes_back_by_itself(url, work):
    async def main():
        async with Detour(5432) as detour, opened(databases.by_way_of(url, port=detour.port)) as postgres:
            ask = postgres.read if work is items else postgres.write
            detour.hold()
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match=r"no (answer|connection) in time"), hurried(0.5):
                    await ask(work)
            detour.release()
            with hurried(5.0):
                await recovered(postgres)

    run(main)


def test_once_a_server_is_known_to_be_silent_nobody_waits_long_for_it(url):
    async def main():
        async with Detour(5432) as detour, opened(databases.by_way_of(url, port=detour.port)) as postgres:
            detour.hold()
            with pytest.raises(StoreUnavailable, match="no answer in time"), hurried(0.5):
                await postgres.write(insert(1))
            for _ in range(5):
                started = time.monotonic()
                with pytest.raises(StoreUnavailable, match="no connection in time"), answering(lambda: 60.0):
                    await postgres.write(insert(1))
                assert time.monotonic() - started < 0.3
            detour.release()
            with hurried(5.0):
                await recovered(postgres)
            with databases.administrator(url) as other, other.transaction():
                other.execute("LOCK TABLE item")
                started = time.monotonic()
                with pytest.raises(StoreUnavailable), hurried(1.5):
                    await postgres.write(insert(1))
                assert time.monotonic() - started > 0.5

    run(main)


def test_reads_leave_time_for_what_follows(url):
    async def main():
        async with Detour(5432) as detour, opened(databases.by_way_of(url, port=detour.port)) as postgres:
            detour.hold()
            started = time.monotonic()
            with answering(lambda: 1.0), pytest.raises(StoreUnavailable):
                await postgres.read(items)
            assert 0.3 < time.monotonic() - started < 0.6

    run(main)


def test_connections_whose_other_end_is_gone_are_replaced_after_one_caller(url):
    async def main():
        async with Detour(5432) as detour, opened(databases.by_way_of(url, port=detour.port)) as postgres:
            await asyncio.gather(*(postgres.read(asking("SELECT pg_sleep(0.1)")) for _ in range(8)))
            detour.forget()
            with pytest.raises(StoreUnavailable, match="no answer in time"), hurried(0.5):
                await postgres.write(insert(1))
            with hurried(0.5):
                assert await recovered(postgres) == 1

    run(main)


def test_a_caller_that_gives_up_on_a_silent_server_is_let_go_at_once(url):
    async def main():
        async with Detour(5432) as detour, opened(databases.by_way_of(url, port=detour.port)) as postgres:
            detour.hold()
            with hurried(0.5), answering(lambda: 1.0):
                calling = asyncio.create_task(postgres.write(insert(1)))
                await asyncio.sleep(0.1)
                calling.cancel()
                await asyncio.wait({calling})
            started = time.monotonic()
        assert time.monotonic() - started < 2.0

    run(main)


def test_a_server_that_is_silent_from_the_start_is_named(url):
    async def main():
        async with Detour(5432) as detour:
            detour.hold()
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match=r"connection timeout expired|no connection in time"):
                async with opened(databases.by_way_of(url, port=detour.port)):
                    pass
            assert time.monotonic() - started < 8.0

    run(main)


# Under all of it at once.


def test_no_acknowledged_write_is_lost_or_done_twice_while_connections_die(url):
    async def main():
        draw = random.Random(7)
        acknowledged, unknown, over = [], [], asyncio.Event()

        async def write(worker):
            for serial in range(10_000):
                if over.is_set():
                    return
                number = worker * 10_000 + serial
                try:
                    acknowledged.append(await postgres.write(insert(number)))
                except StoreUnavailable:
                    unknown.append(number)

        async def disturb():
            for _ in range(40):
                await asyncio.sleep(draw.uniform(0.01, 0.1))
                await asyncio.to_thread(databases.terminate, url)
            over.set()

        async with opened(url, connections=4) as postgres:
            await asyncio.gather(disturb(), *(write(worker) for worker in range(8)))
        return acknowledged, unknown

    acknowledged, unknown = run(main)
    there = {number for number, _ in stored(url)}
    assert len(acknowledged) > 100
    assert set(acknowledged) <= there <= {*acknowledged, *unknown}


# Secrets.


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://tact:{}@127.0.0.1:1/tact",
        "postgresql://tact:{}@127.0.0.1:5432/nowhere",
        "postgresql://nobody:{}@127.0.0.1:5432/tact",
        "postgresql://tact:{}@nowhere.invalid/tact",
        "postgresql://tact:{}%zz@127.0.0.1/tact",
        "postgresql://tact:{}@127.0.0.1:port/tact",
        "postgresql://tact:{}@[::1/tact",
        "postgresql://tact:{}@127.0.0.1/tact?password={}&unheard=of",
        "postgresql://127.0.0.1/tact?password={}&connect_timeout=x",
        "host=127.0.0.1 port=1 password={} dbname=tact",
        "password='{}",
        "{}",
    ],
)
def test_no_error_and_no_log_line_repeats_a_password(address, caplog):
    caplog.set_level(logging.DEBUG)

    async def main():
        async with opened(address.replace("{}", HIDDEN)):
            pass

    with pytest.raises(StoreUnavailable) as raised:
        run(main)
    told = "".join(traceback.format_exception(raised.value))
    assert str(raised.value).startswith("PostgreSQL")
    assert HIDDEN not in told + caplog.text


def test_no_error_repeats_a_value_or_an_address(url):
    failures = [
        "INSERT INTO item VALUES (1, 'anna'), (1, 'anna')",
        "INSERT INTO item VALUES (1, NULL), (2, 'anna')",
        "SELECT 'anna'::integer",
        "SELECT ('[' || 'anna')::json",
        "INSERT INTO item SELECT 1, repeat('anna', 1000000) || 1 / 0",
    ]

    async def main():
        async with opened(url) as postgres:
            for statement in failures:
                with pytest.raises(StoreUnavailable) as raised:
                    await postgres.write(asking(statement))
                told = "".join(traceback.format_exception(raised.value)[-1:])
                assert "anna" not in str(raised.value)
                assert "127.0.0.1" not in told
                assert raised.value.__cause__ is None

    run(main)
