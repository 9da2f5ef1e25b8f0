"""Profiles read and upserted, for each kind of store."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import databases
import profile_stores
from google.protobuf.json_format import MessageToDict
from prometheus_client import CollectorRegistry
from tact.profile.v1 import profile_service_pb2 as pb

from bench.metrics import Miscounted
from bench.population import Population
from bench.stores import bare
from bench.stores.bare import Rows
from bench.stores.places import now_micros
from bench.stores.servers import POSTGRESQL
from bench.stores.turns import BARE, Way, Writing, parts, reads, writes
from services.profile.adapters.rows import attribute_rows
from services.profile.domain.borrowed import BorrowedValues
from services.profile.domain.identities import Identity
from services.profile.domain.updates import Checked, IncomingUpdate, check
from services.profile.handlers import ProfileHandlers
from services.profile.metrics import ProfileMetrics
from services.profile.ports import Profile, ProfileStore
from services.profile.servicer import MOST_WRITES, ProfileServicer

_POINT = "SELECT customer_id FROM customers WHERE customer_id = ?"


async def measure(
    store: str, folder: Path, population: Population, rounds: int, times: int, calls: Mapping[int, int]
) -> dict[str, Any]:
    """Return what ``reads`` cost and how fast ``writes`` are, on a store of its own.

    Raises:
        Miscounted: a profile was not found.
    """
    with ExitStack() as stack:
        url = stack.enter_context(databases.postgresql()) if store == POSTGRESQL else ""
        async with _opened(url, folder) as profiles:
            metrics, borrowed = ProfileMetrics(CollectorRegistry()), BorrowedValues(1)
            handlers = ProfileHandlers(profiles, population.playbook, now_micros, metrics, borrowed, 1.0)
            await _fill(ProfileServicer(handlers), population)
            if url:
                tables = ["customers", "identities", "attributes"]
                trip, transact = bare.postgresql(stack, url, "profile", tables)
            else:
                file = folder / "profile.sqlite"
                trip, transact = bare.sqlite(stack, file, _POINT, profile_stores.MIGRATIONS)

            async def read(customer_ids: Sequence[str]) -> None:
                if not all(isinstance(found, Profile) for found in await handlers.read(customer_ids, None)):
                    raise Miscounted("a profile that is on file was not found")

            async def bare_trip(customer_ids: Sequence[str]) -> None:
                trip(customer_ids)

            def rows(updates: Sequence[IncomingUpdate]) -> Rows:
                found = (check(update, population.playbook, now_micros()) for update in updates)
                checked = [one.update for one in found if isinstance(one, Checked)]
                return {
                    "customers": [(update.customer_id,) for update in checked],
                    "identities": [
                        (*card, update.customer_id) for update in checked for card in update.identities
                    ],
                    "attributes": attribute_rows(checked),
                }

            ways = {"read": Way(read=read), BARE: Way(read=bare_trip)}
            writing = Writing(items=_others(population), write=handlers.upsert, rows=rows, transact=transact)
            return {
                "reads": await reads(ways, population.ids, rounds, times),
                "writes": await writes(writing, rounds, calls),
            }


@asynccontextmanager
async def _opened(url: str, folder: Path) -> AsyncIterator[ProfileStore]:
    opening = profile_stores.postgresql_at(url) if url else profile_stores.sqlite(folder)
    async with opening as opened:
        yield opened.store


async def _fill(servicer: ProfileServicer, population: Population) -> None:
    for updates in parts(list(population.profiles()), MOST_WRITES):
        await servicer.UpsertProfiles(pb.UpsertProfilesRequest(updates=updates), None)
    for records in parts(list(population.consents()), MOST_WRITES):
        await servicer.RecordConsents(pb.RecordConsentsRequest(records=records), None)


def _others(population: Population) -> Iterator[IncomingUpdate]:
    """Make customers for ever who are like those of a population, and none of them."""
    alike = [
        IncomingUpdate(
            customer_id=update.customer_id,
            attributes={name: MessageToDict(value) for name, value in update.attributes.items()},
            identities=(),
            record_time=None,
            source=update.source,
        )
        for update in population.profiles()
    ]
    for repeat in itertools.count():
        for update in alike:
            name = f"{update.customer_id}-{repeat}"
            yield replace(update, customer_id=name, identities=(Identity("card", f"card-{name}"),))
