"""A service as a process of its own."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from services.chassis.server import run_until_signalled
from services.chassis.sqlite import StoreUnavailable
from services.chassis.telemetry import configure_logging


def run_service(name: str, running: Callable[[], AbstractAsyncContextManager[object]]) -> None:
    """Log as JSON, enter ``running``, and stay until SIGTERM or SIGINT.

    What keeps it from starting (settings, a taken port, a store) ends the process with one line on
    standard error and exit code 1.
    """
    configure_logging()
    try:
        asyncio.run(run_until_signalled(running()))
    except (OSError, ValueError, StoreUnavailable) as error:
        sys.exit(f"{name} cannot start: {error}")
