"""Runs the feature service alone."""

from __future__ import annotations

import asyncio
import sys

from services.chassis.server import ListenError, run_until_signalled, serving
from services.chassis.settings import InvalidSettings, load
from services.chassis.sqlite import StoreUnavailable
from services.chassis.telemetry import configure_logging, logger
from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import load as load_playbook
from services.engine.playbook.loader import shipped
from services.features.adapters.store_lock import StoreInUse
from services.features.app import open_service
from services.features.settings import FeatureSettings


async def run() -> None:
    """Serve until a signal."""
    settings = load(FeatureSettings)
    playbook = load_playbook(settings.playbook or shipped("retail"))
    async with open_service(settings, playbook) as service, serving(service, settings.listener) as running:
        fields = {"service": service.name, "port": running.port, "metrics_port": running.metrics_port}
        logger.info("serving", extra={"fields": fields})
        await run_until_signalled()


if __name__ == "__main__":
    configure_logging()
    try:
        asyncio.run(run())
    except (InvalidSettings, ListenError, PlaybookError, StoreInUse, StoreUnavailable) as error:
        sys.exit(f"features cannot start: {error}")
