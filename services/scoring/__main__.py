"""Runs the scoring service alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.server import Running, run_until_signalled, serving
from services.chassis.settings import load
from services.chassis.telemetry import configure_logging
from services.scoring.app import open_service
from services.scoring.settings import ScoringSettings


@asynccontextmanager
async def running(settings: ScoringSettings) -> AsyncIterator[Running]:
    """Serve as long as the block lasts."""
    async with open_service(settings) as service, serving(service, settings.listener) as ports:
        yield ports


async def run() -> None:
    """Serve until a signal."""
    await run_until_signalled(running(load(ScoringSettings)))


if __name__ == "__main__":
    configure_logging()
    asyncio.run(run())
