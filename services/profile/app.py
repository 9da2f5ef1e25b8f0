"""Puts the profile service together: the one place that picks its adapters."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry
from tact.profile.v1 import profile_service_pb2

from services.chassis.following import following
from services.chassis.postgres import Postgres
from services.chassis.rpc import Service
from services.chassis.sqlite import Database
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.store import Store
from services.profile.adapters import postgres_profiles, sqlite_profiles
from services.profile.adapters.postgres_profiles import PostgresProfiles
from services.profile.adapters.sqlite_profiles import SqliteProfiles
from services.profile.domain.borrowed import BorrowedValues
from services.profile.handlers import ProfileHandlers
from services.profile.metrics import ProfileMetrics
from services.profile.ports import ProfileStore
from services.profile.servicer import ProfileServicer
from services.profile.settings import ProfileSettings


def system_micros() -> int:
    """Return the system's time as UTC microseconds since 1970."""
    return time.time_ns() // 1_000


@asynccontextmanager
async def open_service(
    settings: ProfileSettings,
    playbook: Playbook,
    now: Callable[[], int] = system_micros,
    playbooks: Store | None = None,
) -> AsyncIterator[Service]:
    """Build the profile service on its store; of ``playbooks`` it follows the version that is current.

    Raises:
        StoreUnavailable: the store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        store, database = await stack.enter_async_context(_opened(settings))
        registry = CollectorRegistry()
        metrics = ProfileMetrics(registry)
        metrics.watch_queue(lambda: database.queue_depth)
        borrowed = BorrowedValues(settings.borrowed_values)
        metrics.watch_borrowed(lambda: len(borrowed))
        handlers = ProfileHandlers(store, playbook, now, metrics, borrowed, settings.identity_lease_seconds)
        await stack.enter_async_context(
            following(
                "profile",
                playbooks,
                playbook.version,
                handlers.take,
                metrics.playbook,
                settings.playbook_poll_seconds,
            )
        )
        yield Service(
            name="profile",
            descriptor=profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"],
            servicer=ProfileServicer(handlers),
            registry=registry,
            ready=lambda: database.is_writable,
        )


@asynccontextmanager
async def _opened(settings: ProfileSettings) -> AsyncIterator[tuple[ProfileStore, Database | Postgres]]:
    """Open the profiles in the store that the settings name."""
    if url := settings.store_url:
        async with Postgres.open(
            url,
            _scripts(postgres_profiles.MIGRATIONS),
            schema="profile",
            connections=settings.store_connections,
            queue_limit=settings.write_queue,
        ) as postgres:
            yield PostgresProfiles(postgres), postgres
    else:
        async with Database.open(
            settings.file, _scripts(sqlite_profiles.MIGRATIONS), queue_limit=settings.write_queue
        ) as database:
            yield SqliteProfiles(database), database


def _scripts(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("*.sql"))]
