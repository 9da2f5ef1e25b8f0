"""Runs the gateway alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.process import run_service
from services.chassis.server import Running, serving
from services.chassis.settings import load
from services.engine.playbook.store import opened
from services.gateway.app import connected, open_service
from services.gateway.settings import GatewaySettings


@asynccontextmanager
async def running(settings: GatewaySettings) -> AsyncIterator[Running]:
    """Serve as long as the block lasts."""
    playbook, store = opened(settings.playbook, settings.home)
    async with (
        connected(settings) as stubs,
        open_service(settings, playbook, stubs, store) as service,
        serving(service, settings.listener) as ports,
    ):
        yield ports


def main() -> None:
    """Serve until a signal."""
    run_service("gateway", lambda: running(load(GatewaySettings)))


if __name__ == "__main__":
    main()
