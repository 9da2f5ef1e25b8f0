"""Servers as processes of their own, and what they use of the machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

START_SECONDS = 120.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class NotStarted(Exception):
    """A server ended, or was not ready in time; the message holds the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The ports of one service."""

    port: int
    metrics_port: int


class Server:
    """A process that serves ``names``, from some time after it was started."""

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], log: Path, names: Collection[str]
    ) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log
        self._names = set(names)

    @cached_property
    def services(self) -> Mapping[str, Bound]:
        """The services by name; waits until all of them are served.

        Raises:
            NotStarted: it does not come to that.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            bound = _bound(self._log)
            if bound.keys() >= self._names:
                return bound
            time.sleep(_POLL_SECONDS)
        raise NotStarted(f"{self.name}: {self._log.read_text()[-1000:]}")

    def end(self) -> None:
        """Tell the process to end, without waiting for it."""
        self._process.terminate()

    def cpu_seconds(self) -> float:
        """Return the time that all its threads spent on a core so far, in user and system mode."""
        # How Linux names the clock of a process's time on a core, see clock_getcpuclockid(3).
        return time.clock_gettime(~self.pid << 3 | 2)

    def peak_rss_mib(self) -> float:
        """Return the most memory that it ever held at once."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0


@contextmanager
def started(
    name: str,
    module: str,
    arguments: Sequence[str],
    log: Path,
    services: Collection[str],
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run a Python module that serves ``services``, until the block ends."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environment() | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            yield Server(name, process, log, services)
        finally:
            stop(process)


def environment() -> dict[str, str]:
    """Return this process's environment without what it tells Tact, so that modules are found."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("TACT_")}
    return inherited | {"PYTHONPATH": str(Path(__file__).parents[1])}


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """End the block as Ctrl-C does where a signal tells to, so that it leaves nothing behind."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def environment_of_tests() -> dict[str, str]:
    """Return the same with what it tells tests, such as servers."""
    return environment() | {key: text for key, text in os.environ.items() if key.startswith("TACT_TEST_")}


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process, gently first."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def machine_cpu_seconds() -> tuple[float, float]:
    """Return for how long all cores were busy since they started, and withheld by a host above."""
    fields = Path("/proc/stat").read_text().split()[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq) / _TICKS_A_SECOND, steal / _TICKS_A_SECOND


def _bound(log: Path) -> dict[str, Bound]:
    found = {}
    for line in log.read_text().splitlines():
        if '"serving"' in line and line.endswith("}"):
            told = json.loads(line)
            found[told["service"]] = Bound(port=told["port"], metrics_port=told["metrics_port"])
    return found


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
