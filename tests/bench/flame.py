"""A flame graph of Tact in one process under load, sampled from outside by py-spy."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from bench.rounds import Load
from bench.run import Scale, prepared, told
from bench.targets import TACT

SCALE = Scale(
    customers=1_000,
    rounds=0,
    seconds=15.0,
    requests=math.inf,
    warm_up_seconds=2.0,
    traced=0,
    reserved=0,
)
LOAD = Load(in_flight=8)
_MARGIN_SECONDS = 2.0
_SAMPLES_A_SECOND = 200


class NoProfiler(Exception):
    """py-spy is not installed, or may not look into other processes."""


def record(output: Path) -> None:
    """Write a flame graph of 15 seconds at 8 in flight as SVG.

    It shows who held the interpreter's lock. What releases it is not in there: LightGBM's trees,
    SQLite's commits, the network.

    Raises:
        NoProfiler: it cannot be made.
    """
    profiler = shutil.which("py-spy", path=sysconfig.get_path("scripts")) or shutil.which("py-spy")
    if profiler is None:
        raise NoProfiler("py-spy is not installed: run make setup")
    output.parent.mkdir(parents=True, exist_ok=True)
    with prepared(SCALE, [TACT]) as ready:
        (target,) = ready.targets
        (server,) = target.servers
        ready.meter.measure(target, LOAD, seconds=SCALE.warm_up_seconds, requests=math.inf, seed=1)
        told(f"sampling for {SCALE.seconds:g} s")
        command = [profiler, "record", "--pid", str(server.pid), "--output", str(output)]
        options = ["--duration", f"{SCALE.seconds:g}", "--rate", str(_SAMPLES_A_SECOND), "--gil"]
        with subprocess.Popen([*command, *options], stdout=sys.stderr) as sampling:
            seconds = SCALE.seconds + _MARGIN_SECONDS
            ready.meter.measure(target, LOAD, seconds=seconds, requests=math.inf, seed=2)
            if sampling.wait():
                raise NoProfiler("py-spy failed; where it lacks permission, run it as root")
