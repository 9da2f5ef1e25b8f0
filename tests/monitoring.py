"""All four services as one real process, and a real Prometheus that reads their metrics."""

import asyncio
import contextlib
import copy
import json
import os
import shutil
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from services.chassis.clients import GrpcStub, channel

ROOT = Path(__file__).parents[1]
SERVICES = ("gateway", "profile", "features", "scoring")
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.1


def program(name):
    """Find a program, or skip; fail where servers are required."""
    return shutil.which(name) or absent(f"{name} is not installed")


def absent(reason):
    """Skip for want of what the machine lacks; fail where servers are required."""
    if os.environ.get("TACT_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    return pytest.skip(reason)


@contextlib.asynccontextmanager
async def up(home, **settings):
    """Run ``tact up`` on free ports; yields the ports of each service."""
    free = {f"TACT_{name.upper()}_{port}": "0" for name in SERVICES for port in ("PORT", "METRICS_PORT")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TACT_")}
    with (home / "services.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.cli",
            "up",
            cwd=ROOT,
            env={**inherited, **free, "TACT_HOME": str(home), **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        async with _ending(process):
            line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
            assert line, (home / "services.log").read_text()
            yield json.loads(line)


@contextlib.asynccontextmanager
async def stubs(ports, descriptors):
    """Connect to services; yields a stub for each descriptor by its name."""
    async with contextlib.AsyncExitStack() as stack:
        connected = {}
        for name, descriptor in descriptors.items():
            opened = channel(f"127.0.0.1:{ports[name]['port']}", descriptor)
            await stack.enter_async_context(opened)
            connected[name] = GrpcStub(opened, descriptor, PATIENCE_SECONDS)
        yield connected


def scraping(configuration, ports, interval):
    """Point a scrape configuration at other ports, more often; all else stays."""
    changed = copy.deepcopy(configuration)
    changed["global"] |= {"scrape_interval": interval, "scrape_timeout": interval}
    for job in changed["scrape_configs"]:
        for target in job["static_configs"]:
            name = target["labels"]["service"]
            target["targets"] = [f"127.0.0.1:{ports[name]['metrics_port']}"]
    return changed


class Prometheus:
    """A running Prometheus."""

    def __init__(self, address):
        self._address = address

    async def query(self, expression):
        """Return the instant vector of an expression: labels and number of each series."""
        answer = await self._get("query", query=expression)
        assert answer["resultType"] == "vector"
        return [(found["metric"], float(found["value"][1])) for found in answer["result"]]

    async def label_values(self, metric, label):
        """Return the values of a metric's label."""
        return await self._get(f"label/{label}/values", **{"match[]": metric})

    async def _get(self, path, **parameters):
        return await asyncio.to_thread(_read, self._address, f"{path}?{urllib.parse.urlencode(parameters)}")


@contextlib.asynccontextmanager
async def prometheus(binary, folder, configuration):
    """Run Prometheus on a free port of loopback, with its data in ``folder``."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    process = await asyncio.create_subprocess_exec(
        binary,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        "--log.format=json",
        stderr=asyncio.subprocess.PIPE,
    )
    async with _ending(process):
        address, lines = None, []
        while address is None:
            line = await asyncio.wait_for(process.stderr.readline(), PATIENCE_SECONDS)
            assert line, "".join(lines)
            lines.append(line.decode())
            if '"Listening on"' in lines[-1]:
                address = json.loads(line)["address"]
        draining = asyncio.create_task(process.stderr.read())
        try:
            yield Prometheus(address)
        finally:
            draining.cancel()
            await asyncio.wait({draining})


@contextlib.asynccontextmanager
async def _ending(process):
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _read(address, path):
    with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=PATIENCE_SECONDS) as response:
        answer = json.load(response)
    assert answer["status"] == "success"
    return answer["data"]
