"""Puts the profile service together: the one place that picks its adapters."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from prometheus_client import CollectorRegistry
from tact.profile.v1 import profile_service_pb2

from services.chassis.following import following
from services.chassis.rpc import Service
from services.chassis.sqlite import Database
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.store import Store
from services.profile.adapters.sqlite_profiles import MIGRATIONS, SqliteProfiles
from services.profile.domain.borrowed import BorrowedValues
from services.profile.handlers import ProfileHandlers
from services.profile.metrics import ProfileMetrics
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
        migrations = [path.read_text() for path in sorted(MIGRATIONS.glob("*.sql"))]
        database = await stack.enter_async_context(
            Database.open(settings.file, migrations, queue_limit=settings.write_queue)
        )
        registry = CollectorRegistry()
        metrics = ProfileMetrics(registry)
        metrics.watch_queue(lambda: database.queue_depth)
        borrowed = BorrowedValues(settings.borrowed_values)
        metrics.watch_borrowed(lambda: len(borrowed))
        handlers = ProfileHandlers(
            SqliteProfiles(database), playbook, now, metrics, borrowed, settings.identity_lease_seconds
        )
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
