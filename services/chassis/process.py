"""A service as a process of its own."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

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
        asyncio.run(run_until_signalled(_settled(running())))
    except (OSError, ValueError, StoreUnavailable) as error:
        sys.exit(f"{name} cannot start: {error}")


@asynccontextmanager
async def _settled(running: AbstractAsyncContextManager[object]) -> AsyncIterator[None]:
    async with running:
        # A full collection looks at every object that start-up made and every cached one, and
        # stops all requests meanwhile. What start-up made stays anyway; the rest is looked at
        # rarely, since almost everything is freed by its reference count.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 500)
        yield
