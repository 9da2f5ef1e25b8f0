"""``tact up``: runs all services in one process until a signal."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict

from services.allinone.app import load_settings, running
from services.chassis.server import run_until_signalled
from services.chassis.telemetry import configure_logging


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: there are none, the environment tells all."""


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; the ports stand on standard output once all services listen."""
    configure_logging()
    asyncio.run(_serve())
    return 0


async def _serve() -> None:
    async with running(load_settings()) as services:
        ports = {name: asdict(bound) for name, bound in services.items()}
        sys.stdout.write(json.dumps(ports) + "\n")
        sys.stdout.flush()
        await run_until_signalled()
