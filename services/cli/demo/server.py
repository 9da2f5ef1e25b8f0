"""Runs ``tact up`` as a process of its own, on free ports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.cli.failure import Failure

_SERVICES = ("PROFILE", "FEATURES", "SCORING", "GATEWAY")


@contextmanager
def serving(home: Path, playbook: Path) -> Iterator[Mapping[str, int]]:
    """Serve a playbook from ``home`` while the block runs; yields the gRPC port of each service.

    Raises:
        Failure: the services do not come up.
    """
    log = home / "demo" / "services.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    free = {f"TACT_{name}_{port}": "0" for name in _SERVICES for port in ("PORT", "METRICS_PORT")}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up"],
            env={
                **os.environ,
                **free,
                "TACT_HOME": str(home),
                "TACT_PLAYBOOK": str(playbook),
                "TACT_SCORING_POLL_SECONDS": "0.5",
            },
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                process.wait()
                raise Failure(f"the services did not start: {log.read_text().strip()[-400:]}")
            yield {name: bound["port"] for name, bound in json.loads(line).items()}
        finally:
            process.terminate()
            process.wait()
