"""A feature service beside a test, and files of events to put into it."""

import asyncio
import contextlib
import csv
import sqlite3
import threading

import pyarrow
import pyarrow.parquet

from services.chassis.server import Listener, serving
from services.cli.__main__ import main
from services.engine.playbook.loader import load
from services.features.app import open_service
from services.features.settings import FeatureSettings

PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def serving_features(home, folder, **settings):
    """Serve a playbook's features in a thread of its own; yields the address."""
    ports, loop = [], asyncio.new_event_loop()
    running, ending = threading.Event(), asyncio.Event()

    async def serve():
        made = FeatureSettings(home=home, **settings)
        async with (
            open_service(made, load(folder)) as service,
            serving(service, Listener(port=0, metrics_port=0)) as bound,
        ):
            ports.append(bound.port)
            running.set()
            await ending.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert running.wait(PATIENCE_SECONDS)
        yield f"127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join()
        loop.close()


def stored(home):
    """Return what a feature service has stored, by event id: customer, type, time, attributes."""
    with contextlib.closing(sqlite3.connect(home / "features.sqlite")) as store:
        rows = store.execute("SELECT event_id, customer_id, type, event_time, attributes FROM events")
        return {event_id: tuple(rest) for event_id, *rest in rows}


def import_events(*arguments):
    """Run ``tact events import``; returns its exit code."""
    return main(["events", "import", *map(str, arguments)])


def write_csv(path, header, rows, **options):
    """Write rows as CSV; returns the path."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, **options)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_parquet(path, **columns):
    """Write columns as Parquet, in small groups of rows; returns the path."""
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=7)
    return path
