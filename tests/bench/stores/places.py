"""Stores of events and of state, opened as the feature service opens them."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from bench.metrics import Miscounted
from bench.population import PLAYBOOK
from services.chassis.postgres import Postgres
from services.chassis.sqlite import Database
from services.engine.playbook.loader import load
from services.engine.playbook.playbook import Playbook
from services.features.adapters import postgres_events, sqlite_events
from services.features.adapters.postgres_events import PostgresEvents
from services.features.adapters.process_state import ProcessState
from services.features.adapters.sqlite_events import SqliteEvents
from services.features.handlers import MOST_EVENTS_HELD, FeatureHandlers
from services.features.histories import Histories
from services.features.metrics import FeatureMetrics
from services.features.ports import EventStore, StateStore

FILE: Final = "features.sqlite"
NO_BOUND: Final = 1 << 62
_STATE_SECONDS: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where events are, a folder or a database, and state, in the process or under a prefix in ``redis``.

    ``held_events`` bounds what the process holds.
    """

    store: str
    redis: str = ""
    prefix: str = ""
    held_events: int = NO_BOUND

    @property
    def is_file(self) -> bool:
        """Tell a folder from a database."""
        return not self.store.startswith("postgresql:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A feature service without a server; ``histories`` are read from the same stores."""

    playbook: Playbook
    store: EventStore
    state: StateStore
    handlers: FeatureHandlers
    histories: Histories
    metrics: FeatureMetrics

    def sources(self) -> dict[str, int]:
        """Tell how many histories came from where so far, and how often Redis failed."""
        counted = {
            sample.labels.get("source", "failed"): int(sample.value)
            for metric in (self.metrics.histories, self.metrics.state_errors)
            for family in metric.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }
        return {source: count for source, count in counted.items() if count}

    @contextmanager
    def expecting(self, **expected: int) -> Iterator[None]:
        """Check that so many histories come from each source, and none from another.

        Raises:
            Miscounted: it was otherwise.
        """
        before = self.sources()
        yield
        grown = {source: count - before.get(source, 0) for source, count in self.sources().items()}
        if (found := {source: count for source, count in grown.items() if count}) != expected:
            raise Miscounted(f"histories were to come from {expected}, but came from {found}")


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Opened]:
    """Open the stores of a place; what is absent is made."""
    metrics, playbook = FeatureMetrics(CollectorRegistry()), load(PLAYBOOK)
    async with AsyncExitStack() as stack:
        store: EventStore
        if place.is_file:
            file, migrations = Path(place.store) / FILE, scripts(sqlite_events.MIGRATIONS)
            store = SqliteEvents(await stack.enter_async_context(Database.open(file, migrations)))
        else:
            postgres = Postgres.open(place.store, scripts(postgres_events.MIGRATIONS), schema="features")
            store = PostgresEvents(await stack.enter_async_context(postgres))
        state: StateStore = ProcessState(place.held_events, metrics)
        if place.redis:
            # A process that does without it is measured without it.
            from services.features.adapters.redis_state import RedisState

            opening = RedisState.open(place.redis, place.prefix, _STATE_SECONDS, metrics)
            state = await stack.enter_async_context(opening)
        handlers = FeatureHandlers(store, state, playbook, now_micros, metrics)
        await handlers.warm_up()
        yield Opened(
            playbook=playbook,
            store=store,
            state=state,
            handlers=handlers,
            histories=Histories(store, state, MOST_EVENTS_HELD, metrics),
            metrics=metrics,
        )


def settle() -> None:
    """Collect garbage as seldom as services do once they serve."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 500)


def scripts(folder: Path) -> list[str]:
    """Return migrations in order."""
    return [path.read_text() for path in sorted(folder.glob("*.sql"))]


def now_micros() -> int:
    """Return the system's time as UTC microseconds since 1970."""
    return time.time_ns() // 1_000
