"""Puts all four services into one process, with no network hop between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from services.chassis.inprocess import InProcessStub
from services.chassis.server import Running, serving
from services.chassis.settings import load
from services.engine.playbook.store import opened
from services.features import app as features
from services.features.settings import FeatureSettings
from services.gateway import app as gateway
from services.gateway.settings import GatewaySettings
from services.profile import app as profile
from services.profile.settings import ProfileSettings
from services.scoring import app as scoring
from services.scoring.settings import ScoringSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AllSettings:
    """The settings of every service."""

    profile: ProfileSettings
    features: FeatureSettings
    scoring: ScoringSettings
    gateway: GatewaySettings


def load_settings(environ: Mapping[str, str] | None = None) -> AllSettings:
    """Read the settings of every service from the environment."""
    return AllSettings(
        profile=load(ProfileSettings, environ),
        features=load(FeatureSettings, environ),
        scoring=load(ScoringSettings, environ),
        gateway=load(GatewaySettings, environ),
    )


@asynccontextmanager
async def running(settings: AllSettings) -> AsyncIterator[Mapping[str, Running]]:
    """Serve all four on their own ports; the gateway calls the others directly.

    Each follows the playbooks for itself; what one has loaded serves the others.
    """
    playbook, store = opened(settings.gateway.playbook, settings.gateway.home)
    async with AsyncExitStack() as stack:
        services = {
            "profile": await stack.enter_async_context(
                profile.open_service(settings.profile, playbook, playbooks=store)
            ),
            "features": await stack.enter_async_context(
                features.open_service(settings.features, playbook, playbooks=store)
            ),
            "scoring": await stack.enter_async_context(scoring.open_service(settings.scoring)),
        }
        stubs = gateway.Stubs(
            **{
                name: InProcessStub(service, gateway.DEFAULT_TIMEOUT_SECONDS)
                for name, service in services.items()
            }
        )
        services["gateway"] = await stack.enter_async_context(
            gateway.open_service(settings.gateway, playbook, stubs, store)
        )
        yield {
            name: await stack.enter_async_context(serving(service, getattr(settings, name).listener))
            for name, service in services.items()
        }
