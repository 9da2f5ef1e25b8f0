"""When an erasure was: not before all that it waited for was over, so no archive of meanwhile is newer."""

import asyncio
import contextlib
import sqlite3
from datetime import UTC, datetime

import databases
import pytest
from archives import KINDS, filled, opened

MOMENT = datetime(2026, 11, 2, tzinfo=UTC)


@contextlib.contextmanager
def held_up(stores, service):
    """Let nobody write to a store."""
    if stores.url:
        with databases.administrator(stores.url) as server, server.transaction():
            server.execute(f"SET LOCAL search_path TO {service}, public")
            server.execute("LOCK TABLE erasures IN SHARE MODE")
            yield
    else:
        with contextlib.closing(sqlite3.connect(stores.home / f"{service}.sqlite")) as file:
            file.execute("BEGIN IMMEDIATE")
            yield


@pytest.mark.parametrize("service", ["profile", "features", "gateway"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_erasure_is_of_when_nothing_held_it_up_any_more(kind, service, tmp_path):
    async def main(stores):
        is_free, asked = False, []

        def now():
            asked.append(is_free)
            return MOMENT if service == "gateway" else 5

        opening = {"profile": stores.profiles, "features": stores.events, "gateway": stores.log}[service]
        async with opening() as store:
            with held_up(stores, service):
                erasing = asyncio.create_task(store.erase(["anna"], now))
                await asyncio.sleep(0.3)
                is_free = True
            await erasing
        assert asked == [True]

    with opened(kind, tmp_path) as stores:
        filled(stores, "anna")
        asyncio.run(main(stores))
