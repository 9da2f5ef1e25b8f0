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

from redis import RedisError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.features.adapters.event_rows import stored
from services.features.domain.states import State, Version
from services.features.metrics import FeatureMetrics
from services.features.ports import Described, StoreUnavailable

_PATIENCE_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 1.0
"""After a failure, so long nobody waits for Redis again."""
_ERASING_SECONDS: Final = 2.0
_MOST_SAMPLED: Final = 100
_HEADER: Final = Struct(">QQ")
# The header sorts as the versions do.
_PUT: Final = """
local held = redis.call('GETRANGE', KEYS[1], 0, 15)
if #held == 16 and held > string.sub(ARGV[1], 1, 16) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""

T = TypeVar("T")
logger = logging.getLogger("tact.features.state")


class RedisState:
    """Implements ``StateStore``: each state has a key, which ends ``ttl_seconds`` after it was put.

    A value is the version, 8 bytes each of change and sequence, then the rest as compressed JSON. While
    Redis fails nothing is held, and it is asked once a second whether it is back.
    """

    def __init__(self, redis: Redis, prefix: str, ttl_seconds: int, metrics: FeatureMetrics) -> None:
        self._redis = redis
        self._prefix = prefix
        self._ttl_seconds = ttl_seconds
        self._metrics = metrics
        self._put = redis.register_script(_PUT)
        self._failing_until = 0.0

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
        values = await self._tried(lambda: self._redis.mget(keys))
        return [None] * len(keys) if values is None else list(map(_decoded, values))

    async def put(self, states: Mapping[str, State]) -> None:
        """Hold states, except in the place of those of later versions."""

        async def put() -> None:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for customer_id, state in states.items():
                    await self._put([self._key(customer_id)], [_encoded(state), self._ttl_seconds], pipeline)
                await pipeline.execute()

        await self._tried(put)

    async def forget(self, customer_ids: Sequence[str], change: int) -> None:
        """Put the change in the place of each state, so that a read that began before puts nothing."""
        try:
            async with asyncio.timeout(_ERASING_SECONDS), self._redis.pipeline(transaction=False) as pipeline:
                for customer_id in customer_ids:
                    pipeline.set(self._key(customer_id), _HEADER.pack(change, 0), ex=self._ttl_seconds)
                await pipeline.execute()
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
        return f"{self._prefix}{customer_id}"

    async def _tried(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what Redis answers, None where it does not."""
        if asyncio.get_running_loop().time() < self._failing_until:
            return None
        try:
            return await call()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        self._metrics.state_errors.inc()
        now = asyncio.get_running_loop().time()
        if now > self._failing_until + _PAUSE_SECONDS:
            # The error's own text may quote an address.
            logger.warning("redis_failed", extra={"cause": type(error).__name__})
        self._failing_until = now + _PAUSE_SECONDS


def _encoded(state: State) -> bytes:
    events = [[e.event_id, e.type, e.event_time, e.attributes] for e in state.events]
    text = json.dumps([state.floors, events], ensure_ascii=False, separators=(",", ":"))
    return _HEADER.pack(*state.version) + zlib.compress(text.encode(), 1)


def _decoded(value: bytes | str | None) -> State | None:
    if not isinstance(value, bytes) or len(value) <= _HEADER.size:
        return None
    try:
        floors, events = json.loads(zlib.decompress(value[_HEADER.size :]))
        return State(Version(*_HEADER.unpack_from(value)), floors, [stored(*event) for event in events])
    except (ValueError, TypeError, zlib.error):
        return None
