"""PostgreSQL and Redis servers of a test's own, which it may kill and start again; NATS is in ``streams``."""

import asyncio
import contextlib
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import redis
from monitoring import absent, program
from streams import free_port

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.05


class Server:
    """A server process; ``is_up`` tells whether it answers."""

    def __init__(self, command):
        self._command, self._process = command, None

    def start(self):
        """Run it until it answers; one that does not come up is tried again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            if self.is_up():
                return
            assert time.monotonic() < deadline, f"{self._command[0]} does not come up"
            time.sleep(POLL_SECONDS)

    def send(self, number):
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self, number=signal.SIGKILL):
        """End it, at once if not told otherwise."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    async def restart(self, number=signal.SIGKILL):
        """End it and start it again, while the loop goes on."""
        await asyncio.to_thread(self.stop, number)
        await asyncio.to_thread(self.start)


class Postgresql(Server):
    """A cluster with one empty database; it syncs what it commits."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        super().__init__([*unprivileged(), binary("postgres"), "-D", f"{folder}/data", *settings])

    def is_up(self):
        """Tell whether it takes connections."""
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url, connect_timeout=2).close()
            return True
        return False


class Redis(Server):
    """A Redis that keeps nothing on disk."""

    def __init__(self):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        command = [program("redis-server"), "--bind", "127.0.0.1", "--port", str(self.port)]
        super().__init__([*command, "--save", "", "--appendonly", "no"])

    def empty(self):
        """Lose all that it holds."""
        with contextlib.closing(redis.Redis(port=self.port)) as client:
            client.flushall()

    def is_up(self):
        """Tell whether it answers."""
        with contextlib.closing(redis.Redis(port=self.port)) as client, contextlib.suppress(redis.RedisError):
            return client.ping()
        return False


def binary(name):
    """Find a program of PostgreSQL, which Debian keeps out of the way."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return shutil.which(name) or (found[-1] if found else absent(f"{name} is not installed"))


def unprivileged():
    """Return what a command of PostgreSQL begins with, which refuses to run as root."""
    as_postgres = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return [program("setpriv"), *as_postgres] if os.getuid() == 0 else []


@contextlib.contextmanager
def postgresql():
    """Make a cluster, which is not started yet."""
    folder = tempfile.mkdtemp(prefix="tact-postgresql-")
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        options = ["-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*unprivileged(), binary("initdb"), *options],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        made = Postgresql(folder)
        try:
            yield made
        finally:
            made.stop(signal.SIGINT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def own_redis():
    """Prepare a Redis, which is not started yet."""
    made = Redis()
    try:
        yield made
    finally:
        made.stop()
