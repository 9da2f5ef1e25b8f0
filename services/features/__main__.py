"""Runs the feature service alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.process import run_service
from services.chassis.server import Running, serving
from services.chassis.settings import load
from services.engine.playbook.store import opened
from services.features.app import open_service
from services.features.settings import FeatureSettings


@asynccontextmanager
async def running(settings: FeatureSettings) -> AsyncIterator[Running]:
    """Serve as long as the block lasts."""
    playbook, store = opened(settings.playbook, settings.home)
    async with (
        open_service(settings, playbook, playbooks=store) as service,
        serving(service, settings.listener) as ports,
    ):
        yield ports


def main() -> None:
    """Serve until a signal."""
    run_service("features", lambda: running(load(FeatureSettings)))


if __name__ == "__main__":
    main()
