"""What is measured: Tact in one process, Tact in four, a bare echo, and the floor of a fan-out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.metrics import Samples, scrape
from bench.processes import Bound, Server, started

SERVICES = ("profile", "features", "scoring", "gateway")
TACT, ECHO, FLOOR, FOUR = "tact", "echo", "floor", "tact-four"
ORDER = (TACT, ECHO, FLOOR, FOUR)
DECIDING = (TACT, FOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Servers that together answer ``Decide`` at the port of their gateway."""

    name: str
    servers: tuple[Server, ...]

    @property
    def services(self) -> Mapping[str, Bound]:
        """The services by name, wherever they run."""
        return {name: bound for server in self.servers for name, bound in server.services.items()}

    @property
    def port(self) -> int:
        """Where to ask."""
        return self.services["gateway"].port

    @property
    def is_tact(self) -> bool:
        """Tell whether it decides, rather than echoes."""
        return self.name in DECIDING

    def samples(self) -> Samples:
        """Read the metrics of all services."""
        return {key: value for bound in self.services.values() for key, value in scrape(bound.metrics_port)}

    def cpu_seconds(self) -> dict[str, float]:
        """Return what each process spent so far."""
        return {server.name: server.cpu_seconds() for server in self.servers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A folder with stores, and the playbook and models that go with them."""

    folder: Path
    playbook: Path
    model_name: str
    tracking_uri: str

    def variables(self, **more: str) -> dict[str, str]:
        """Return the environment of services on this home, on free ports."""
        ports = {f"TACT_{name.upper()}_{kind}": "0" for name in SERVICES for kind in ("PORT", "METRICS_PORT")}
        return {
            "TACT_HOME": str(self.folder),
            "TACT_PLAYBOOK": str(self.playbook),
            "TACT_SCORING_MODEL_NAME": self.model_name,
            "TACT_SCORING_TRACKING_URI": self.tracking_uri,
            **ports,
            **more,
        }


@contextmanager
def serve(home: Home, service: str, logs: Path, **more: str) -> Iterator[Server]:
    """Run one service of Tact."""
    with started(
        service,
        "services.cli",
        ["serve", service],
        logs / f"{service}.log",
        [service],
        home.variables(**more),
    ) as server:
        yield server


@contextmanager
def all_in_one(home: Home, logs: Path) -> Iterator[Target]:
    """Run Tact in one process."""
    with started("tact", "services.cli", ["up"], logs / "up.log", SERVICES, home.variables()) as server:
        yield Target(name=TACT, servers=(server,))


@contextmanager
def four_processes(home: Home, logs: Path) -> Iterator[Target]:
    """Run each service of Tact in a process of its own."""
    with ExitStack() as stack:
        behind = [stack.enter_context(serve(home, name, logs)) for name in SERVICES[:3]]
        addresses = {
            f"TACT_GATEWAY_{server.name.upper()}_ADDRESS": _address(server, server.name) for server in behind
        }
        gateway = stack.enter_context(serve(home, "gateway", logs, **addresses))
        yield Target(name=FOUR, servers=(gateway, *behind))


@contextmanager
def echo(recordings: Path, logs: Path) -> Iterator[Target]:
    """Run a bare gRPC server with the gateway's payloads."""
    with started(
        "echo", "bench.echo", ["gateway", str(recordings)], logs / "echo.log", ["gateway"]
    ) as server:
        yield Target(name=ECHO, servers=(server,))


@contextmanager
def floor(recordings: Path, logs: Path) -> Iterator[Target]:
    """Run a gateway that only asks, and three services that only echo."""
    with ExitStack() as stack:

        def play(name: str, *more: str) -> Server:
            log = logs / f"floor-{name}.log"
            return stack.enter_context(
                started(name, "bench.echo", [name, str(recordings), *more], log, [name])
            )

        behind = [play(name) for name in SERVICES[:3]]
        addresses = {server.name: _address(server, server.name) for server in behind}
        gateway = play("gateway", "--behind", json.dumps(addresses))
        yield Target(name=FLOOR, servers=(gateway, *behind))


def _address(server: Server, service: str) -> str:
    return f"127.0.0.1:{server.services[service].port}"
