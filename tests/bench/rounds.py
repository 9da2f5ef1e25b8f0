"""Puts one load after another on one target after another, and measures each."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tact.decision.v1 import decision_service_pb2 as pb

from bench import metrics
from bench.messages import Recordings
from bench.metrics import Miscounted, Samples
from bench.processes import environment, machine_cpu_seconds, stop
from bench.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A closed loop of ``in_flight`` callers, or an open one of ``rate`` calls a second."""

    in_flight: int = 0
    rate: float | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.in_flight} in flight" if self.rate is None else f"{self.rate:g}/s"


LOADS = (*(Load(in_flight=n) for n in (1, 8, 32)), *(Load(rate=rate) for rate in (50.0, 150.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One load on one target, once. Times in seconds; ``cpu_seconds`` by process."""

    target: str
    load: str
    sent: int
    elapsed: float
    latencies: Sequence[float]
    lag_p99: float
    cpu_seconds: Mapping[str, float]
    generator_cpu_seconds: float
    others_cpu_seconds: float
    withheld_cpu_seconds: float
    grown: Samples
    answers: Sequence[pb.DecideResponse]

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return self.sent / self.elapsed

    @property
    def cpu_us(self) -> float:
        """What one request costs all the processes together, in microseconds on a core."""
        return sum(self.cpu_seconds.values()) / self.sent * 1e6

    def latency_ms(self, quantile: float) -> float:
        """Return the latency that a share of the calls did not exceed."""
        return float(np.quantile(self.latencies, quantile)) * 1e3


class Generator:
    """The process that generates load."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def run(self, **order: Any) -> dict[str, Any]:
        """Put a load on a server and return what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Miscounted(f"the load generator ended: {self._log.read_text()[-1000:]}")
        result: dict[str, Any] = json.loads(line)
        return result


@contextmanager
def generating(requests: Path, log: Path) -> Iterator[Generator]:
    """Run the load generator until the block ends."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.generator", str(requests)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Generator(process, log)
        finally:
            stop(process)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Measures one cell after another; ``candidates`` is how many a decision has to score."""

    generator: Generator
    recordings: Recordings
    candidates: int

    def measure(self, target: Target, load: Load, *, seconds: float, requests: float, seed: int) -> Cell:
        """Put one load on one target, for ``seconds`` or until so many ``requests`` were sent.

        Raises:
            Miscounted: a request failed, or a server's own counters differ from what was sent.
        """
        before, cpu, (busy, withheld) = target.samples(), target.cpu_seconds(), machine_cpu_seconds()
        result = self.generator.run(
            port=target.port,
            path=self.recordings["gateway"].path,
            in_flight=load.in_flight,
            rate=load.rate,
            seconds=seconds,
            requests=requests,
            seed=seed,
        )
        spent = {name: after - cpu[name] for name, after in target.cpu_seconds().items()}
        busy_after, withheld_after = machine_cpu_seconds()
        cell = Cell(
            target=target.name,
            load=load.name,
            sent=result["sent"],
            elapsed=result["elapsed"],
            latencies=result["latencies"],
            lag_p99=float(np.quantile(result["lags"], 0.99)),
            cpu_seconds=spent,
            generator_cpu_seconds=result["cpu_seconds"],
            others_cpu_seconds=busy_after - busy - sum(spent.values()) - result["cpu_seconds"],
            withheld_cpu_seconds=withheld_after - withheld,
            grown=metrics.difference(target.samples(), before),
            answers=[pb.DecideResponse.FromString(b64decode(sample)) for sample in result["samples"]],
        )
        self._verify(cell, target, result["failures"])
        return cell

    def _verify(self, cell: Cell, target: Target, failures: Sequence[str]) -> None:
        where = f"{cell.target} at {cell.load}"
        if failures:
            raise Miscounted(f"{where}: {len(failures)} of {cell.sent} failed, such as {failures[0]}")
        metrics.verify_answered(where, cell.grown, calls(target, self.recordings), cell.sent)
        if target.is_tact:
            decided = metrics.value(cell.grown, "tact_decisions_total", mode="live", served_by="model")
            scored = metrics.value(cell.grown, "tact_scoring_rows_sum")
            if (decided, scored) != (cell.sent, cell.sent * self.candidates):
                raise Miscounted(
                    f"{where}: of {cell.sent} live decisions the model made {decided:g} and scored {scored:g}"
                    " candidates"
                )
        if not all(answer.actions for answer in cell.answers):
            raise Miscounted(f"{where}: an answer holds no action")


def calls(target: Target, recordings: Recordings) -> list[tuple[str, str]]:
    """Return (service, RPC) of every call that one request makes on a target, its own first."""
    return [
        (recordings[name].service, recordings[name].rpc)
        for name in ("gateway", "profile", "features", "scoring")
        if name in target.services
    ]
