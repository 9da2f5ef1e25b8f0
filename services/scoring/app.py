"""Puts the scoring service together: the one place that picks its adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from tact.scoring.v1 import scoring_service_pb2

from services.chassis.rpc import Service
from services.scoring.adapters.lightgbm_booster import LightgbmBooster
from services.scoring.adapters.mlflow_registry import MlflowRegistry
from services.scoring.follower import ModelFollower
from services.scoring.handlers import ScoringHandlers
from services.scoring.metrics import ScoringMetrics
from services.scoring.servicer import ScoringServicer
from services.scoring.settings import ScoringSettings


def system_time() -> datetime:
    """Return the system's time."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_service(settings: ScoringSettings) -> AsyncIterator[Service]:
    """Build the scoring service, which follows the registry for as long as it is open.

    Without a model it is not ready, and becomes ready once a version passes its checks.
    """
    async with AsyncExitStack() as stack:
        registry = CollectorRegistry()
        metrics = ScoringMetrics(registry)
        models = stack.enter_context(
            MlflowRegistry(settings.registry_uri, settings.model_name, settings.alias)
        )
        executor = stack.enter_context(ThreadPoolExecutor(settings.threads, thread_name_prefix="scoring"))
        subject = f"the alias {settings.alias} of {settings.model_name}"
        follower = ModelFollower(models, LightgbmBooster, metrics, system_time, subject)
        stack.callback(follower.close)
        following = asyncio.create_task(follower.follow(settings.poll_seconds))
        stack.push_async_callback(asyncio.wait, {following})
        stack.callback(following.cancel)
        handlers = ScoringHandlers(follower, executor, settings.inline_rows, metrics)
        yield Service(
            name="scoring",
            descriptor=scoring_service_pb2.DESCRIPTOR.services_by_name["ScoringService"],
            servicer=ScoringServicer(handlers),
            registry=registry,
            warm_up=lambda: follower.warm_up(settings.warm_up_seconds),
            ready=handlers.is_ready,
        )
