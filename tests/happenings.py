"""A feature service beside a test, and files of events to put into it."""

import asyncio
import contextlib
import csv
import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow
import pyarrow.parquet

from services.chassis.server import Listener, serving
from services.cli.__main__ import main
from services.engine.playbook.loader import load
from services.features.app import open_service
from services.features.settings import FeatureSettings

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def serving_features(home, folder, port=0, **settings):
    """Serve a playbook's features in a thread of its own; yields the address."""
    ports, loop = [], asyncio.new_event_loop()
    running, ending = threading.Event(), asyncio.Event()

    async def serve():
        made = FeatureSettings(home=home, **settings)
        async with (
            open_service(made, load(folder)) as service,
            serving(service, Listener(port=port, metrics_port=0)) as bound,
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


def write_parquet(path, row_group_size=3, **columns):
    """Write columns as Parquet; returns the path."""
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=row_group_size)
    return path


class FeatureProcess:
    """A feature service in a process of its own; ``log`` is what it wrote."""

    def __init__(self, home, folder, **settings):
        self.log = []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TACT_")}
        named = {f"TACT_FEATURES_{name.upper()}": str(value) for name, value in settings.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.features"],
            cwd=ROOT,
            env={
                **inherited,
                "TACT_HOME": str(home),
                "TACT_PLAYBOOK": str(folder),
                "TACT_FEATURES_PORT": "0",
                "TACT_FEATURES_METRICS_PORT": "0",
                **named,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        self._serving = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self):
        try:
            assert self._serving.wait(PATIENCE_SECONDS)
            (line,) = (line for line in self.log if '"serving"' in line)
        except BaseException:
            self.kill()
            raise AssertionError("".join(self.log)) from None
        ports = json.loads(line)
        self.address, self.metrics_port = f"127.0.0.1:{ports['port']}", ports["metrics_port"]
        return self

    def __exit__(self, *failure):
        self.kill()

    def kill(self):
        """End it at once."""
        self.process.kill()
        self._join()

    def terminate(self):
        """Ask it to end, and wait; returns its exit code."""
        self.process.terminate()
        self._join()
        return self.process.returncode

    def _join(self):
        self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        self.process.stderr.close()

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line)
            if '"serving"' in line:
                self._serving.set()
        self._serving.set()
