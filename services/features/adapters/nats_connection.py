"""A connection to NATS with all that consuming events from it needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RawStreamMsg, RetentionPolicy, StreamConfig
from nats.js.errors import APIError, NotFoundError

from services.features.adapters.dead_letters import Fault, letter

_CONNECT_SECONDS: Final = 5
_CLOSE_SECONDS: Final = 2.0
_REQUEST_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 0.5
_GATHER_SECONDS: Final = 0.05
_MOST_PENDING_BYTES: Final = 64 << 20
_LETTERS_AT_ONCE: Final = 16
_DEAD_LETTER_SECONDS: Final = 30 * 86_400.0
_LONGEST_CAUSE: Final = 200


class StreamLost(Exception):
    """The stream cannot be used for now; the message repeats neither address nor content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where events come from and dead letters go; ``servers`` may hold passwords."""

    servers: Sequence[str]
    stream: str
    subject: str
    durable: str
    dead_stream: str
    dead_subject: str
    batch: int
    ack_wait_seconds: float


@dataclass(frozen=True, slots=True)
class Lag:
    """How many messages are not applied, and since when the oldest of them has been in the stream."""

    pending: int
    oldest: datetime | None


class EventStream:
    """An open stream. Every method raises ``StreamLost``."""

    def __init__(
        self,
        client: Client,
        jetstream: JetStreamContext,
        subscription: JetStreamContext.PullSubscription,
        addresses: Addresses,
    ) -> None:
        self._client = client
        self._jetstream = jetstream
        self._subscription = subscription
        self._addresses = addresses

    @property
    def has_more(self) -> bool:
        """Tell whether anything has arrived that ``fetch`` did not look at yet."""
        return self._subscription.pending_msgs > 0

    async def fetch(self) -> list[Msg]:
        """Wait a moment for messages, and return those that are there, at most a batch."""
        messages = await self._fetch(1, _IDLE_SECONDS)
        rest = self._addresses.batch - len(messages)
        if messages and rest > 0:
            # A single one would be waited for in another way, hence two at least.
            messages += await self._fetch(max(2, rest), _GATHER_SECONDS)
        return messages

    async def _fetch(self, most: int, seconds: float) -> list[Msg]:
        with _lossy():
            try:
                return await self._subscription.fetch(most, timeout=seconds)
            except TimeoutError:
                return []

    async def acknowledge(self, messages: Sequence[Msg]) -> None:
        """Tell that messages are done with."""
        with _lossy():
            for message in messages:
                await message.ack()

    async def postpone(self, messages: Sequence[Msg], seconds: float) -> None:
        """Have messages delivered again, but not before so long."""
        with _lossy():
            for message in messages:
                await message.nak(delay=seconds)

    async def bury(self, message: Msg, fault: Fault) -> None:
        """Put a message among the dead letters, durably, and acknowledge it."""
        payload, headers = letter(message, fault, self._client.max_payload)
        with _lossy():
            await self._jetstream.publish(
                self._addresses.dead_subject,
                payload,
                timeout=_REQUEST_SECONDS,
                stream=self._addresses.dead_stream,
                headers=dict(headers),
            )
            await message.ack()

    async def lag(self) -> Lag:
        """Ask how far behind the consumer is."""
        names = self._addresses
        with _lossy():
            info = await self._jetstream.consumer_info(names.stream, names.durable)
            pending = (info.num_pending or 0) + (info.num_ack_pending or 0)
            if not pending:
                return Lag(0, None)
            done = info.ack_floor.stream_seq if info.ack_floor else 0
            try:
                oldest = await self._jetstream.get_msg(
                    names.stream, seq=done + 1, next=True, subject=names.subject
                )
            except NotFoundError:
                return Lag(pending, None)
            return Lag(pending, oldest.time)


@asynccontextmanager
async def connected(addresses: Addresses) -> AsyncIterator[EventStream]:
    """Connect; make streams that are not there, and the consumer to be what the settings say.

    A connection that is lost is not mended, but told by ``StreamLost`` from whatever needs it.

    Raises:
        StreamLost: no server can be reached, or it does not let us.
    """
    async with _client(addresses) as client:
        with _lossy():
            jetstream = client.jetstream(timeout=_REQUEST_SECONDS)
            await _prepare(jetstream, addresses)
            subscription = await jetstream.pull_subscribe_bind(
                addresses.durable, stream=addresses.stream, pending_bytes_limit=_MOST_PENDING_BYTES
            )
        yield EventStream(client, jetstream, subscription, addresses)


async def delete_letters(addresses: Addresses, are_wanted: Callable[[Sequence[bytes]], list[bool]]) -> int:
    """Delete the dead letters whose payloads are wanted, of those there are by now; return how many.

    ``are_wanted`` is called in threads.

    Raises:
        StreamLost: some may be left.
    """
    stream, deleted = addresses.dead_stream, 0
    async with _client(addresses) as client:
        with _lossy():
            jetstream = client.jetstream(timeout=_REQUEST_SECONDS)
            try:
                state = (await jetstream.stream_info(stream)).state
            except NotFoundError:
                # Nothing was ever buried.
                return 0
            for first in range(state.first_seq, state.last_seq + 1, _LETTERS_AT_ONCE):
                places = range(first, min(first + _LETTERS_AT_ONCE, state.last_seq + 1))
                found = await asyncio.gather(*(_letter(jetstream, stream, place) for place in places))
                letters = [one for one in found if one is not None and one.subject == addresses.dead_subject]
                wanted = await asyncio.to_thread(are_wanted, [one.data or b"" for one in letters])
                for one, is_wanted in zip(letters, wanted, strict=True):
                    deleted += is_wanted and await _delete(jetstream, stream, int(one.seq or 0))
    return deleted


async def _letter(jetstream: JetStreamContext, stream: str, sequence: int) -> RawStreamMsg | None:
    try:
        return await jetstream.get_msg(stream, sequence)
    except NotFoundError:
        return None


async def _delete(jetstream: JetStreamContext, stream: str, sequence: int) -> bool:
    """Tell whether a letter was there; it is overwritten on the server's disk."""
    try:
        return await jetstream.delete_msg(stream, sequence)
    except APIError:
        # It may have gone meanwhile.
        if await _letter(jetstream, stream, sequence) is None:
            return False
        raise


@asynccontextmanager
async def _client(addresses: Addresses) -> AsyncIterator[Client]:
    client = Client()
    try:
        with _lossy():
            async with asyncio.timeout((len(addresses.servers) + 1) * _CONNECT_SECONDS):
                await client.connect(
                    list(addresses.servers),
                    name="tact-features",
                    error_cb=_ignore,
                    allow_reconnect=False,
                    # Each server is tried once or twice; the caller decides when to try again.
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=_CONNECT_SECONDS,
                )
        yield client
    finally:
        # A connection whose other end is silent never ends closing.
        with suppress(TimeoutError, nats.errors.Error, OSError):
            await asyncio.wait_for(client.close(), _CLOSE_SECONDS)


async def _prepare(jetstream: JetStreamContext, names: Addresses) -> None:
    await _ensure(
        jetstream,
        StreamConfig(
            name=names.stream,
            subjects=[names.subject],
            # What is applied is in the store for ever, and need not be kept twice.
            retention=RetentionPolicy.WORK_QUEUE,
        ),
    )
    await _ensure(
        jetstream,
        StreamConfig(name=names.dead_stream, subjects=[names.dead_subject], max_age=_DEAD_LETTER_SECONDS),
    )
    await jetstream.add_consumer(
        names.stream,
        ConsumerConfig(
            durable_name=names.durable,
            filter_subject=names.subject,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=names.ack_wait_seconds,
            max_ack_pending=2 * names.batch,
        ),
    )


async def _ensure(jetstream: JetStreamContext, config: StreamConfig) -> None:
    """Make a stream where there is none of its name; one that is there is its operator's."""
    try:
        await jetstream.stream_info(str(config.name))
    except NotFoundError:
        await jetstream.add_stream(config)


async def _ignore(error: Exception) -> None:
    """Leave errors to those whom they hinder."""


@contextmanager
def _lossy() -> Iterator[None]:
    """Turn what the client raises into ``StreamLost``."""
    try:
        yield
    except APIError as error:
        raise StreamLost(f"{type(error).__name__}: {error.description}") from None
    except (nats.errors.Error, OSError) as error:
        raise StreamLost(f"{type(error).__name__}: {error}"[:_LONGEST_CAUSE]) from None
