"""The health check of the images agrees with the health service."""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.chassis.server import serving
from services.engine.playbook.loader import load, shipped
from services.profile.app import open_service
from services.profile.settings import ProfileSettings

CHECK = Path(__file__).parents[2] / "infra/docker/health.py"
PATIENCE_SECONDS = 60.0


async def check(port):
    """Run the health check as a container of the profile service would."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TACT_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHECK),
        env={**inherited, "SERVICE": "profile", "TACT_PROFILE_PORT": str(port)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode, said.decode().strip()


@pytest.mark.parametrize(("is_ready", "expected"), [(True, (0, "")), (False, (1, "NOT_SERVING"))])
def test_a_container_is_healthy_while_its_service_serves(tmp_path, is_ready, expected):
    settings = ProfileSettings(TACT_HOME=tmp_path, port=0, metrics_port=0)

    async def main():
        async with open_service(settings, load(shipped("retail"))) as opened:
            service = replace(opened, ready=lambda: is_ready, registry=CollectorRegistry())
            async with serving(service, settings.listener) as bound:
                return await check(bound.port)

    assert asyncio.run(main()) == expected


def test_a_container_whose_service_is_gone_is_not_healthy():
    code, said = asyncio.run(check(9))
    assert (code, said) == (1, "127.0.0.1:9: UNAVAILABLE")
