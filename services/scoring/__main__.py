"""Runs the scoring service alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.process import run_service
from services.chassis.server import Running, serving
from services.chassis.settings import load
from services.scoring.app import open_service
from services.scoring.settings import ScoringSettings


@asynccontextmanager
async def running(settings: ScoringSettings) -> AsyncIterator[Running]:
    """Serve as long as the block lasts."""
    async with open_service(settings) as service, serving(service, settings.listener) as ports:
        yield ports


def main() -> None:
    """Serve until a signal."""
    run_service("scoring", lambda: running(load(ScoringSettings)))


if __name__ == "__main__":
    main()
