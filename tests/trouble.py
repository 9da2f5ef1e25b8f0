"""Running services, their callers, and what can be done to them."""

import asyncio
import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import urllib.request

import grpc
import worlds
from deciding import degradations, request
from detours import Detour
from monitoring import absent, program
from prometheus_client.parser import text_string_to_metric_families
from worlds import CUSTOMERS, DEPENDENCIES, NOON

DRY, LIVE = "DECISION_MODE_DRY_RUN", "DECISION_MODE_LIVE"
DEADLINE_SECONDS = 1.5
PATIENCE_SECONDS = 60.0
STORES = ("profile", "features", "gateway")


class Detoured(worlds.Processes):
    """Services that the gateway reaches by detours."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.detours = {}
        self._opened = contextlib.AsyncExitStack()

    async def __aexit__(self, *failure):
        await super().__aexit__(*failure)
        await self._opened.aclose()

    async def start(self, name):
        await super().start(name)
        if name in DEPENDENCIES and name not in self.detours:
            self.detours[name] = await self._opened.enter_async_context(Detour(self.port(name)))

    def address(self, name):
        return f"127.0.0.1:{self.detours[name].port}"


class World:
    """Services under test, and the loop that they are reached from.

    ``usual`` are the degradations of every decision here.
    """

    def __init__(self, services, usual=()):
        self.runner = asyncio.Runner()
        self.services = services
        self.usual = list(usual)
        self._numbers = itertools.count()

    def run(self, exercise, patience_seconds=PATIENCE_SECONDS):
        """Run a test's coroutine."""

        async def bounded():
            async with asyncio.timeout(patience_seconds):
                return await exercise

        return self.runner.run(bounded())

    async def ask(self, customer=CUSTOMERS[0], timeout=DEADLINE_SECONDS, **fields):
        """Ask for a dry run that nobody asked for before."""
        fields = {"at": NOON, "mode": DRY, "request_id": f"asked-{next(self._numbers)}", **fields}
        return await self.services.stubs["gateway"].Decide(request(customer, **fields), timeout=timeout)

    async def live(self, customer=CUSTOMERS[0], **fields):
        """Ask for a live decision."""
        return await self.ask(customer, at=None, mode=LIVE, **fields)

    async def recovered(self):
        """Wait until the gateway answers, with no more missing than is always missing here."""
        answer = None
        while answer is None or degradations(answer) != self.usual:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await self.ask()

    async def sample(self, name, **labels):
        """Read one number from the gateway's metrics; None where it is not there."""
        return await asyncio.to_thread(_sample, self.services.metrics_port("gateway"), name, labels)


@contextlib.contextmanager
def opened(services, usual=()):
    """Start services, fill them, and read their logs once they are gone."""
    world = World(services, usual)

    async def start():
        await services.__aenter__()
        await worlds.populate(services.stubs["profile"], services.stubs["features"])
        await world.recovered()

    with world.runner:
        try:
            world.run(start())
            yield world
        finally:
            world.run(services.__aexit__())
    log = "".join(services.log)
    assert "unhandled exception" not in log
    assert "Traceback" not in log
    assert "customer-" not in log


@contextlib.contextmanager
def paused(services, name):
    """Stop a process as a debugger does: its connections stay, and it answers nothing."""
    services.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        services.signal(name, signal.SIGCONT)


@contextlib.contextmanager
def half_open(services, name):
    """Lose what travels between the gateway and a service, with nobody told."""
    services.detours[name].hold()
    try:
        yield
    finally:
        services.detours[name].release()


@contextlib.contextmanager
def slow(services, name):
    """Let a service be reached a byte at a time."""
    services.detours[name].trickle()
    try:
        yield
    finally:
        services.detours[name].release()


@contextlib.contextmanager
def locked(folder, how):
    """Hold the write locks of all stores, as another program may."""
    with contextlib.ExitStack() as stack:
        for name in STORES:
            file = sqlite3.connect(folder / f"{name}.sqlite", isolation_level=None)
            stack.enter_context(contextlib.closing(file)).execute(f"BEGIN {how}")
        yield


def small_disk(megabytes):
    """Return a launcher whose processes have a disk of their own, that small, as their ``TACT_HOME``.

    Skips where nobody may mount anything; fails where servers are required.
    """
    mounting = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    script = f'mount -t tmpfs -o size={megabytes}m tmpfs "$TACT_HOME" && exec "$@"'
    program("unshare")
    tried = subprocess.run(
        [*mounting, script, "sh", "true"], env={**os.environ, "TACT_HOME": "/mnt"}, capture_output=True
    )
    if tried.returncode != 0:
        absent("a process may not mount a disk of its own")
    return [*mounting, script, "sh"]


@contextlib.contextmanager
def full(disks):
    """Fill disks to the last byte, then give the room back."""
    fillers = [disk / "filler" for disk in disks]
    try:
        for filler in fillers:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))
        yield
    finally:
        for filler in fillers:
            filler.unlink()


def _sample(port, name, labels):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    found = (sample for family in families for sample in family.samples if sample.name == name)
    return next((each.value for each in found if labels.items() <= each.labels.items()), None)
