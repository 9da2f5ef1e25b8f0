"""States of customer ids in Redis, where several processes share them."""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from struct import Struct
from typing import Final, TypeVar

from redis import RedisError, ResponseError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.chassis.deadline import patience
from services.chassis.tables import tombstone
from services.features.adapters.event_rows import stored
from services.features.domain.states import State, Version
from services.features.metrics import FeatureMetrics
from services.features.ports import Described, StoreUnavailable

_PATIENCE_SECONDS: Final = 0.25
_LEAST_SECONDS: Final = 0.02
_SHARE: Final = 0.1
"""Of what is left of a call, so much is waited for a place, then for Redis, within the two bounds above."""
_PAUSE_SECONDS: Final = 1.0
"""After a failure, so long nobody waits for Redis; then one call does, and tells the others."""
_MOST_AT_ONCE: Final = 16
"""So few that their packing, and opening their connections, does not use up the patience with Redis."""
_BYTES_AT_ONCE: Final = 1 << 15
"""So much is packed or unpacked in some milliseconds; then other calls have their turn."""
_ERASING_SECONDS: Final = 2.0
_MOST_SAMPLED: Final = 100
_HEADER: Final = Struct(">QQ")
# The header sorts as the versions do, byte by byte; Lua itself would compare by the server's language.
_PUT: Final = """
local held = redis.call('GETRANGE', KEYS[1], 0, 15)
if #held == 16 then
    for place = 1, 16 do
        local old, new = string.byte(held, place), string.byte(ARGV[1], place)
        if old > new then return 0 end
        if old < new then break end
    end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""

T = TypeVar("T")
logger = logging.getLogger("tact.features.state")


class RedisState:
    """Implements ``StateStore``: each state has a key, which ends ``ttl_seconds`` after it was put.

    A value is the version, 8 bytes each of change and sequence, then the rest as compressed JSON. While
    Redis fails nothing is held, and one call a second asks whether it is back.
    """

    def __init__(self, redis: Redis, prefix: str, ttl_seconds: int, metrics: FeatureMetrics) -> None:
        self._redis = redis
        self._prefix = prefix
        self._ttl_seconds = ttl_seconds
        self._metrics = metrics
        self._put = redis.register_script(_PUT)
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)
        self._is_failing = False
        self._paused_until = 0.0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, prefix: str, ttl_seconds: int, metrics: FeatureMetrics
    ) -> AsyncIterator[RedisState]:
        """Use the Redis at a URL, which need not be there yet."""
        redis = Redis.from_url(
            url,
            socket_timeout=_PATIENCE_SECONDS,
            socket_connect_timeout=_PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
            client_name="tact-features",
        )
        try:
            yield cls(redis, prefix, ttl_seconds, metrics)
        finally:
            await redis.aclose()

    async def get(self, customer_ids: Sequence[str]) -> list[State | None]:
        """Return the state of each customer id; what cannot be read back is not held."""
        keys = list(map(self._key, customer_ids))
        if (values := await self._tried(lambda: self._redis.mget(keys))) is None:
            return [None] * len(keys)
        found: list[State | None] = []
        size = 0
        for value in values:
            found.append(_decoded(value))
            size = await _politely(size + len(value or b""))
        return found

    async def put(self, states: Mapping[str, State]) -> None:
        """Hold states, except in the place of those of later versions."""
        if not self._may_try():
            return
        values: dict[str, bytes] = {}
        size = 0
        for customer_id, state in states.items():
            values[customer_id] = _encoded(state)
            size = await _politely(size + len(values[customer_id]))
        try:
            await self._tried(lambda: self._put_all(values))
        except ResponseError:
            # It is full, most likely. What it holds can still be read.
            self._metrics.state_errors.inc()

    async def forget(self, customer_ids: Sequence[str], change: int) -> None:
        """Put the change in the place of each state, so that a read that began before puts nothing."""
        value = _HEADER.pack(change, 0)
        try:
            async with asyncio.timeout(_ERASING_SECONDS):
                try:
                    await self._put_all(dict.fromkeys(customer_ids, value))
                except ResponseError:
                    # A Redis that is full takes nothing, but lets go.
                    await self._redis.delete(*map(self._key, customer_ids))
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            raise StoreUnavailable(
                f"the feature state in Redis cannot be used: {type(error).__name__}"
            ) from None

    async def describe(self) -> Described:
        """Estimate from keys drawn at random; what else lies in the database is told apart by its name."""
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.dbsize()
                for _ in range(_MOST_SAMPLED):
                    pipeline.randomkey()
                size, *drawn = await pipeline.execute()
            ours = [key for key in drawn if key is not None and key.startswith(self._prefix.encode())]
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key in ours:
                    pipeline.memory_usage(key)
                sizes = [found for found in await pipeline.execute() if found is not None] if ours else []
        except (RedisError, OSError, TimeoutError) as error:
            return Described(kind="redis", unavailable=type(error).__name__)
        return Described(
            kind="redis",
            customers=round(size * len(ours) / len(drawn)),
            bytes_per_customer=sum(sizes) / len(sizes) if sizes else None,
            sampled=len(set(ours)),
        )

    def _key(self, customer_id: str) -> str:
        # A key tells nobody whose it is, also after an erasure.
        return f"{self._prefix}{tombstone(customer_id)}"

    async def _put_all(self, values: Mapping[str, bytes]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for customer_id, value in values.items():
                await self._put([self._key(customer_id)], [value, self._ttl_seconds], pipeline)
            await pipeline.execute()

    async def _tried(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what Redis answers, None where it does not in time or too many others ask it.

        Raises:
            ResponseError: it answers that it does not do this.
        """
        if not self._may_try():
            return None
        left = patience(_SHARE)
        seconds = _PATIENCE_SECONDS if left is None else min(max(left, _LEAST_SECONDS), _PATIENCE_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            # That tells of the crowd, not of Redis.
            return None
        try:
            return await self._asked(call, seconds)
        finally:
            self._places.release()

    async def _asked(self, call: Callable[[], Awaitable[T]], seconds: float) -> T | None:
        # Who had the place before may have found out meanwhile.
        if not self._may_try():
            return None
        if self._is_failing:
            self._paused_until = asyncio.get_running_loop().time() + _PAUSE_SECONDS
        try:
            async with asyncio.timeout(seconds):
                found = await call()
        except ResponseError:
            raise
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None
        self._is_failing = False
        return found

    def _may_try(self) -> bool:
        return not self._is_failing or asyncio.get_running_loop().time() >= self._paused_until

    def _failed(self, error: Exception) -> None:
        self._metrics.state_errors.inc()
        if not self._is_failing:
            # The error's own text may quote an address.
            logger.warning("redis_failed", extra={"cause": type(error).__name__})
        self._is_failing = True
        self._paused_until = asyncio.get_running_loop().time() + _PAUSE_SECONDS


async def _politely(size: int) -> int:
    """Let others have their turn after so many bytes; return how many there were since."""
    if size < _BYTES_AT_ONCE:
        return size
    await asyncio.sleep(0)
    return 0


def _encoded(state: State) -> bytes:
    events = [[e.event_id, e.type, e.event_time, e.attributes] for e in state.events]
    text = json.dumps([state.since, state.floors, events], ensure_ascii=False, separators=(",", ":"))
    return _HEADER.pack(*state.version) + zlib.compress(text.encode(), 1)


def _decoded(value: bytes | str | None) -> State | None:
    if not isinstance(value, bytes) or len(value) <= _HEADER.size:
        return None
    try:
        since, floors, events = json.loads(zlib.decompress(value[_HEADER.size :]))
        version = Version(*_HEADER.unpack_from(value))
        return State(version, since, floors, [stored(*event) for event in events])
    except (ValueError, TypeError, zlib.error):
        return None
