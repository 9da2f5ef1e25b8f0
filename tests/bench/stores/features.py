"""Features read and events ingested, for each kind of store."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import databases
import redis
import redises

from bench.population import Population
from bench.stores import bare
from bench.stores.bare import Rows, Trip
from bench.stores.places import FILE, Opened, Place, now_micros, opened, scripts
from bench.stores.servers import POSTGRESQL, REDIS
from bench.stores.turns import BARE, Way, Writing, customers_read, parts, reads, writes
from services.chassis.tables import tombstone
from services.engine.playbook.playbook import Playbook
from services.features.adapters import sqlite_events
from services.features.adapters.event_messages import incoming_event
from services.features.adapters.process_state import ProcessState
from services.features.adapters.redis_state import RedisState
from services.features.domain.events import Event, IncomingEvent, check
from services.features.handlers import Key
from services.features.servicer import MOST_CUSTOMERS, MOST_EVENTS

_POINT = "SELECT max(sequence) FROM events WHERE customer_id = ?"


async def measure(
    store: str,
    states: Iterable[str],
    folder: Path,
    population: Population,
    rounds: int,
    times: int,
    calls: Mapping[int, int],
) -> dict[str, Any]:
    """Return what ``reads`` cost by kind of state, and how fast ``writes`` are, on a store of its own.

    Raises:
        Miscounted: a history came from elsewhere than it was to.
    """
    with ExitStack() as stack:
        url = stack.enter_context(databases.postgresql()) if store == POSTGRESQL else ""
        place = Place(store=url or str(folder))
        async with opened(place) as filled:
            past = list(map(incoming_event, population.events()))
            for events in parts(past, MOST_EVENTS):
                await filled.handlers.ingest(events)
            if url:
                trip, transact = bare.postgresql(stack, url, "features", ["events"])
            else:
                migrations = scripts(sqlite_events.MIGRATIONS)
                trip, transact = bare.sqlite(stack, folder / FILE, _POINT, migrations)
            found = {}
            for state in states:
                held = place
                if state == REDIS:
                    prefix = stack.enter_context(redises.prefix())
                    held = replace(place, redis=redises.SERVER, prefix=prefix)
                async with opened(held) as one:
                    ways = await _ways(one, population.ids, trip, held.prefix, stack)
                    count = customers_read(rounds, times)
                    with one.expecting(state=count, store=count):
                        found[state] = await reads(ways, population.ids, rounds, times)
            writing = Writing(
                items=_others(past),
                write=filled.handlers.ingest,
                rows=_Numbered(filled.playbook, len(past)).rows,
                transact=transact,
            )
            return {"reads": found, "writes": await writes(writing, rounds, calls)}


async def _ways(one: Opened, ids: Sequence[str], trip: Trip, prefix: str, stack: ExitStack) -> dict[str, Way]:
    actions, version = list(one.playbook.actions), one.playbook.version

    async def vectors(customer_ids: Sequence[str]) -> None:
        keys = [Key(customer_id=each, as_of_time=None, action_ids=actions) for each in customer_ids]
        await one.handlers.vectors(keys, version, 0)

    async def wipe(customer_ids: Sequence[str]) -> None:
        if isinstance(one.state, RedisState):
            await one.state._redis.delete(*map(one.state._key, customer_ids))
        elif isinstance(one.state, ProcessState):
            for each in customer_ids:
                one.state._drop(each)

    async def bare_trip(customer_ids: Sequence[str]) -> None:
        trip(customer_ids)

    for part in parts(ids, MOST_CUSTOMERS):
        await vectors(part)
    if prefix:
        trip = _with_redis(trip, ids, prefix, stack)
    return {
        "held": Way(read=vectors),
        "nothing held": Way(read=vectors, before=wipe),
        BARE: Way(read=bare_trip),
    }


def _with_redis(trip: Trip, ids: Sequence[str], prefix: str, stack: ExitStack) -> Trip:
    """Add one MGET of plain values, each as large as the customer's state."""
    client = stack.enter_context(closing(redis.Redis.from_url(redises.SERVER)))
    for customer_id in ids:
        client.set(f"{prefix}plain:{customer_id}", b"x" * client.strlen(f"{prefix}{tombstone(customer_id)}"))

    def both(customer_ids: Sequence[str]) -> object:
        return trip(customer_ids), client.mget([f"{prefix}plain:{each}" for each in customer_ids])

    return both


def _others(past: Sequence[IncomingEvent]) -> Iterator[IncomingEvent]:
    """Repeat what happened for ever, under new ids."""
    for repeat in itertools.count():
        for event in past:
            yield replace(event, event_id=f"{event.event_id}-{repeat}")


class _Numbered:
    """Makes rows of events, in the order in which they are asked for."""

    def __init__(self, playbook: Playbook, newest: int) -> None:
        self._playbook = playbook
        self._numbers = itertools.count(newest + 1)

    def rows(self, events: Sequence[IncomingEvent]) -> Rows:
        """Return the rows of a batch."""
        checked = (check(event, self._playbook, now_micros()) for event in events)
        return {
            "events": [
                (next(self._numbers), e.event_id, e.customer_id, e.type, e.event_time, e.attributes)
                for e in checked
                if isinstance(e, Event)
            ]
        }
