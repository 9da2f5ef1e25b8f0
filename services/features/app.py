"""Puts the feature service together: the one place that picks its adapters."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from tact.features.v1 import feature_service_pb2

from services.chassis.following import following
from services.chassis.postgres import Postgres
from services.chassis.rpc import Service
from services.chassis.settings import InvalidSettings
from services.chassis.sqlite import Database, StoreUnavailable
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.store import Store
from services.features import ports
from services.features.adapters import postgres_events, sqlite_events
from services.features.adapters.postgres_events import PostgresEvents
from services.features.adapters.process_state import ProcessState
from services.features.adapters.sqlite_events import SqliteEvents
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
        InvalidSettings: NATS or Redis is set and its client is not installed.
    """
    async with AsyncExitStack() as stack:
        registry = CollectorRegistry()
        metrics = FeatureMetrics(registry)
        store, is_writable = await stack.enter_async_context(_opened(settings, metrics))
        state = await stack.enter_async_context(_holding(settings, store, metrics))
        letters = _letters(settings) if settings.nats_servers else None
        handlers = FeatureHandlers(store, state, playbook, now, metrics, settings.state_events, letters)
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
            ready=is_writable,
        )


@asynccontextmanager
async def _opened(
    settings: FeatureSettings, metrics: FeatureMetrics
) -> AsyncIterator[tuple[ports.EventStore, Callable[[], bool]]]:
    """Open the store that the settings name, and tell whether it can be written."""
    if settings.store_url:
        async with Postgres.open(
            settings.store_url,
            _scripts(postgres_events.MIGRATIONS),
            schema="features",
            connections=settings.store_connections,
            queue_limit=settings.write_queue,
        ) as postgres:
            store = PostgresEvents(postgres)
            metrics.watch_queue(lambda: store.queue_depth)
            yield store, lambda: postgres.is_writable
    else:
        with exclusive(settings.file):
            async with Database.open(
                settings.file, _scripts(sqlite_events.MIGRATIONS), queue_limit=settings.write_queue
            ) as database:
                metrics.watch_queue(lambda: database.queue_depth)
                yield SqliteEvents(database), lambda: database.is_writable


@asynccontextmanager
async def _holding(
    settings: FeatureSettings, store: ports.EventStore, metrics: FeatureMetrics
) -> AsyncIterator[ports.StateStore]:
    """Hold state where the settings say."""
    if not (url := settings.state.get_secret_value()):
        yield ProcessState(settings.held_events, metrics)
        return
    try:
        from services.features.adapters.redis_state import RedisState
    except ModuleNotFoundError:
        raise InvalidSettings(
            "TACT_FEATURES_STATE is set, but redis is not installed: pip install 'tact-nba[redis]'"
        ) from None
    prefix = f"{settings.state_prefix}{await store.store_id()}:"
    async with RedisState.open(url, prefix, settings.state_seconds, metrics) as state:
        yield state


def _scripts(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("*.sql"))]


def _letters(settings: FeatureSettings) -> ports.DeadLetters:
    """Reach the dead letters in NATS, whose client only those need who set it."""
    try:
        from services.features.adapters.nats_letters import NatsLetters
    except ModuleNotFoundError:
        raise InvalidSettings(
            "TACT_FEATURES_NATS_URL is set, but nats-py is not installed: pip install 'tact-nba[nats]'"
        ) from None
    return NatsLetters(addresses_of(settings))


def _streaming(
    settings: FeatureSettings, handlers: FeatureHandlers, now: Callable[[], int], metrics: FeatureMetrics
) -> AbstractAsyncContextManager[None]:
    """Consume events from NATS."""
    from services.features.adapters.nats_events import EventConsumer, consuming

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
