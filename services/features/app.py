"""Puts the feature service together: the one place that picks its adapters."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from tact.features.v1 import feature_service_pb2

from services.chassis.following import following
from services.chassis.rpc import Service
from services.chassis.settings import InvalidSettings
from services.chassis.sqlite import Database, StoreUnavailable
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.store import Store
from services.features import ports
from services.features.adapters.history_cache import HistoryCache
from services.features.adapters.sqlite_events import MIGRATIONS, SqliteEvents
from services.features.adapters.store_lock import exclusive
from services.features.handlers import FeatureHandlers
from services.features.metrics import FeatureMetrics
from services.features.servicer import FeatureServicer
from services.features.settings import FeatureSettings

if TYPE_CHECKING:
    from services.features.adapters.nats_connection import Addresses


def system_micros() -> int:
    """Return the system's time as UTC microseconds since 1970."""
    return time.time_ns() // 1_000


@asynccontextmanager
async def open_service(
    settings: FeatureSettings,
    playbook: Playbook,
    now: Callable[[], int] = system_micros,
    playbooks: Store | None = None,
) -> AsyncIterator[Service]:
    """Build the feature service on its store; of ``playbooks`` it follows the version that is current.

    Raises:
        StoreUnavailable: the store cannot be opened, or another process serves it.
        InvalidSettings: NATS is set and its client is not installed.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(exclusive(settings.file))
        migrations = [path.read_text() for path in sorted(MIGRATIONS.glob("*.sql"))]
        database = await stack.enter_async_context(
            Database.open(settings.file, migrations, queue_limit=settings.write_queue)
        )
        registry = CollectorRegistry()
        metrics = FeatureMetrics(registry)
        metrics.watch_queue(lambda: database.queue_depth)
        store = SqliteEvents(database, HistoryCache(settings.cached_events, metrics))
        handlers = FeatureHandlers(store, playbook, now, metrics)
        await stack.enter_async_context(
            following(
                "features",
                playbooks,
                playbook.version,
                handlers.take,
                metrics.playbook,
                settings.playbook_poll_seconds,
            )
        )

        if settings.nats_servers:
            await stack.enter_async_context(_streaming(settings, handlers, now, metrics))

        async def warm_up() -> None:
            try:
                await handlers.warm_up()
            except ports.StoreUnavailable as error:
                raise StoreUnavailable(str(error)) from error

        yield Service(
            name="features",
            descriptor=feature_service_pb2.DESCRIPTOR.services_by_name["FeatureService"],
            servicer=FeatureServicer(handlers),
            registry=registry,
            warm_up=warm_up,
            ready=lambda: database.is_writable,
        )


def _streaming(
    settings: FeatureSettings, handlers: FeatureHandlers, now: Callable[[], int], metrics: FeatureMetrics
) -> AbstractAsyncContextManager[None]:
    """Consume events from NATS, whose client only those need who set it."""
    try:
        from services.features.adapters.nats_events import EventConsumer, consuming
    except ModuleNotFoundError:
        raise InvalidSettings(
            "TACT_FEATURES_NATS_URL is set, but nats-py is not installed: pip install 'tact-nba[nats]'"
        ) from None
    consumer = EventConsumer(addresses_of(settings), handlers.ingest, now, metrics.stream)
    return consuming(consumer, settings.drain_seconds)


def addresses_of(settings: FeatureSettings) -> Addresses:
    """Return where events come from and dead letters go, as the settings say."""
    from services.features.adapters.nats_connection import Addresses

    return Addresses(
        servers=settings.nats_servers,
        stream=settings.nats_stream,
        subject=settings.nats_subject,
        durable=settings.nats_durable,
        dead_stream=settings.nats_dead_stream,
        dead_subject=settings.nats_dead_subject,
        batch=settings.nats_batch,
        ack_wait_seconds=settings.nats_ack_wait_seconds,
    )
