"""``tact up``: runs all services in one process until a signal."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from services.allinone.app import load_settings, running
from services.chassis.process import run_service


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: there are none, the environment tells all."""


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; the ports stand on standard output once all services listen."""
    run_service("tact", _announced)
    return 0


@asynccontextmanager
async def _announced() -> AsyncIterator[None]:
    async with running(load_settings()) as services:
        ports = {name: asdict(bound) for name, bound in services.items()}
        sys.stdout.write(json.dumps(ports) + "\n")
        sys.stdout.flush()
        yield
