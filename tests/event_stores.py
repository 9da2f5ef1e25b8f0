"""Every store of events and every store of state, opened for a test."""

import contextlib

import pytest
from databases import emptied, shared_postgresql
from prometheus_client import CollectorRegistry
from redises import SERVER, prefix

from services.chassis.postgres import Postgres
from services.chassis.sqlite import Database
from services.features.adapters import postgres_events, sqlite_events
from services.features.adapters.postgres_events import PostgresEvents
from services.features.adapters.process_state import ProcessState
from services.features.adapters.redis_state import RedisState
from services.features.adapters.sqlite_events import SqliteEvents
from services.features.fakes import InMemoryEvents, NoState
from services.features.metrics import FeatureMetrics

TTL_SECONDS = 60


def scripts(folder):
    return [path.read_text() for path in sorted(folder.glob("*.sql"))]


@contextlib.asynccontextmanager
async def sqlite_store(folder, *, queue_limit=100):
    migrations = scripts(sqlite_events.MIGRATIONS)
    async with Database.open(folder / "features.sqlite", migrations, queue_limit=queue_limit) as database:
        yield SqliteEvents(database), database


@contextlib.asynccontextmanager
async def postgresql_store(url, *, queue_limit=100):
    migrations = scripts(postgres_events.MIGRATIONS)
    async with Postgres.open(url, migrations, schema="features", queue_limit=queue_limit) as postgres:
        yield PostgresEvents(postgres), postgres


@contextlib.asynccontextmanager
async def sqlite(folder):
    async with sqlite_store(folder) as (store, _):
        yield store


@contextlib.asynccontextmanager
async def postgresql(folder):
    """Open the store of a folder: emptied for the first who asks, and the same from then on."""
    mark = folder / "postgresql"
    url = shared_postgresql() if mark.exists() else emptied(shared_postgresql())
    mark.touch()
    async with postgresql_store(url) as (store, _):
        yield store


@contextlib.asynccontextmanager
async def fake(folder):
    yield InMemoryEvents()


def metrics():
    return FeatureMetrics(CollectorRegistry())


@contextlib.asynccontextmanager
async def process(most_events=10_000):
    yield ProcessState(most_events, metrics())


@contextlib.asynccontextmanager
async def redis(most_events=10_000):
    with prefix() as own:
        async with RedisState.open(SERVER, own, TTL_SECONDS, metrics()) as state:
            yield state


@contextlib.asynccontextmanager
async def nothing(most_events=10_000):
    yield NoState()


every_store = pytest.mark.parametrize("opened", [fake, sqlite, postgresql])
every_real_store = pytest.mark.parametrize("opened", [sqlite, postgresql])
every_state = pytest.mark.parametrize("held", [process, redis])
every_pair = pytest.mark.parametrize(
    ("opened", "held"),
    [(sqlite, process), (postgresql, redis), (postgresql, process), (sqlite, redis), (fake, nothing)],
)
