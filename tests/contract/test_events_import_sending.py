"""An import waits for a service that cannot take events, and is finished by repeating it."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from functools import partial
from pathlib import Path

import pyarrow
import pytest
from happenings import PATIENCE_SECONDS, import_events, serving_features, stored, write_csv, write_parquet
from prometheus_client import CollectorRegistry
from tact.features.v1 import feature_service_pb2 as pb

from services.chassis.inprocess import InProcessStub
from services.chassis.rpc import Service
from services.cli.events.importing import Importing, Reading
from services.cli.events.layout import Layout, resolve
from services.cli.events.occurrences import counted
from services.cli.events.rejects import listed
from services.cli.events.sending import Sender, side_by_side
from services.cli.events.sources import open_source
from services.cli.events.times import Times
from services.cli.events.translation import Translator
from services.cli.failure import Failure
from services.engine.playbook.loader import load
from services.features.fakes import InMemoryEvents, NoState
from services.features.handlers import FeatureHandlers
from services.features.metrics import FeatureMetrics
from services.features.ports import StoreOverloaded, StoreUnavailable
from services.features.servicer import FeatureServicer
from tests.playbooks import write_playbook

ROOT = Path(__file__).parents[2]
FEATURES = pb.DESCRIPTOR.services_by_name["FeatureService"]
NOW = 1_740_000_000_000_000
HEADER = ("event_id", "customer_id", "type", "event_time", "items")


@pytest.fixture(scope="module")
def playbook(tmp_path_factory):
    return write_playbook(tmp_path_factory.mktemp("book"))


def rows(count):
    return [(f"e{n}", f"c{n % 97}", "order", f"2025-01-01T00:00:{n % 60:02}Z", n % 5) for n in range(count)]


@contextlib.asynccontextmanager
async def failing(playbook, failure):
    """Yield a stub of a service whose store fails, and that store."""
    registry, store = CollectorRegistry(), InMemoryEvents()
    handlers = FeatureHandlers(store, NoState(), load(playbook), lambda: NOW, FeatureMetrics(registry))
    service = Service(
        name="features", descriptor=FEATURES, servicer=FeatureServicer(handlers), registry=registry
    )
    store.failure = failure
    yield InProcessStub(service, PATIENCE_SECONDS), store


def an_order():
    event = pb.Event(event_id="a", customer_id="c", type="order")
    event.event_time.seconds = 1
    return event


@pytest.mark.parametrize(
    "failure", [StoreOverloaded("full"), StoreUnavailable("locked")], ids=["full", "locked"]
)
def test_what_passes_is_waited_for(playbook, failure, capsys):
    async def main():
        async with failing(playbook, failure) as (stub, store):
            sending = asyncio.create_task(Sender(stub, PATIENCE_SECONDS).send([an_order()]))
            await asyncio.sleep(0.5)
            assert not sending.done()
            store.failure = None
            return await sending

    (result,) = asyncio.run(main())
    assert result.accepted.sequence == 1
    assert capsys.readouterr().err.startswith(f"waiting for the feature service: {failure} (")


def test_patience_ends(playbook):
    async def main():
        async with failing(playbook, StoreUnavailable("locked")) as (stub, _):
            await Sender(stub, 0.3).send([an_order()])

    with pytest.raises(Failure, match=r"did not take the events: locked \(UNAVAILABLE\)"):
        asyncio.run(main())


def test_a_defect_is_not_waited_for(playbook):
    async def main():
        async with failing(playbook, RuntimeError("broken")) as (stub, _):
            await Sender(stub, PATIENCE_SECONDS).send([an_order()])

    with pytest.raises(Failure, match="INTERNAL"):
        asyncio.run(main())


def test_no_more_calls_than_asked_run_and_none_is_taken_early():
    running, most = 0, 0

    async def call(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return number

    def calls():
        for number in range(50):
            assert running < 3
            yield partial(call, number)

    async def main():
        return [number async for number in side_by_side(calls(), 3)]

    assert sorted(asyncio.run(main())) == list(range(50))
    assert most == 3


def test_the_first_error_ends_all_calls():
    cancelled = []

    async def call(number):
        if number == 2:
            raise Failure("no")
        try:
            await asyncio.sleep(PATIENCE_SECONDS)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    async def main():
        async for _ in side_by_side((partial(call, number) for number in range(9)), 3):
            pass

    with pytest.raises(Failure):
        asyncio.run(main())
    assert sorted(cancelled) == [0, 1]


def test_an_import_outlives_a_restart_of_the_service(tmp_path, playbook, monkeypatch, capsys):
    monkeypatch.setenv("TACT_PLAYBOOK", str(playbook))
    file = write_csv(tmp_path / "events.csv", HEADER, rows(30_000))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    codes = []

    def run():
        codes.append(import_events(file, "--address", address, "--rejects", tmp_path / "rejects.csv"))

    importing = threading.Thread(target=run)
    with serving_features(tmp_path, playbook, port=port):
        importing.start()
        until(lambda: len(stored(tmp_path)) >= 1_000)
    assert len(stored(tmp_path)) < 30_000
    with serving_features(tmp_path, playbook, port=port):
        importing.join(PATIENCE_SECONDS)
    assert codes == [0]
    assert stored(tmp_path).keys() == {f"e{n}" for n in range(30_000)}
    assert "30000 read" in capsys.readouterr().out


def test_an_import_that_was_killed_is_finished_by_repeating_it(tmp_path, playbook, monkeypatch, capsys):
    monkeypatch.setenv("TACT_PLAYBOOK", str(playbook))
    file = write_csv(tmp_path / "events.csv", HEADER[1:], [row[1:] for row in rows(30_000)])
    with serving_features(tmp_path, playbook) as address:
        arguments = [
            file,
            "--address",
            address,
            "--event-id-from",
            "all",
            "--rejects",
            tmp_path / "rejects.csv",
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "events", "import", *map(str, arguments)], cwd=ROOT
        )
        try:
            until(lambda: stored(tmp_path) or process.poll() is not None)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        before = len(stored(tmp_path))
        assert 0 < before < 30_000
        assert import_events(*arguments) == 0
    after = len(stored(tmp_path))
    assert after == 30_000
    assert f"30000 read, {after - before} stored, {before} duplicates, 0 rejected" in capsys.readouterr().out


def until(is_so):
    ends = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


def read_whole(folder, playbook, file):
    """Read and translate a file as an import does; returns its rows and the most memory held."""
    loaded = load(playbook)
    with listed(folder / "rejects.csv") as rejects, counted() as occurrences:
        source = open_source(file, delimiter=",", encoding="utf-8")
        layout = Layout(event_id_from="all")
        columns = resolve(layout, source.header, file, loaded)
        translator = Translator(
            layout=layout, columns=columns, playbook=loaded, times=Times(), occurrences=occurrences
        )
        importing = Importing(rejects, lambda: NOW)
        arrow, most = pyarrow.total_allocated_bytes(), 0
        tracemalloc.start()
        for _ in importing.batches(Reading(source=source, translator=translator)):
            most = max(most, pyarrow.total_allocated_bytes() - arrow)
        most += tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert source.share_read() == 1.0
        source.close()
    return importing.counts.read, most


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, playbook, kind):
    held = {}
    for count in (2_000, 12_000):
        made = [row[1:] for row in rows(count)]
        path = tmp_path / f"{count}.{kind}"
        if kind == "csv":
            write_csv(path, HEADER[1:], made)
        else:
            columns = dict(zip(HEADER[1:], map(list, zip(*made, strict=True)), strict=True))
            write_parquet(path, row_group_size=count, **columns)
        read, held[count] = read_whole(tmp_path, playbook, path)
        assert read == count
    assert held[12_000] < 1.2 * held[2_000] + 200_000
