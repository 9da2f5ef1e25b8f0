"""Takes events from NATS JetStream: durable first, acknowledged then."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from nats.aio.msg import Msg

from services.chassis.telemetry import log_defect
from services.engine.violations import Invalid
from services.features.adapters.dead_letters import Fault, defective, refused, unreadable
from services.features.adapters.event_messages import Unreadable, read_event
from services.features.adapters.nats_connection import Addresses, EventStream, Lag, StreamLost, connected
from services.features.domain.events import IncomingEvent
from services.features.domain.placement import Placed, Placement
from services.features.ports import StoreOverloaded, StoreUnavailable
from services.features.stream_metrics import StreamMetrics

Ingest = Callable[[Iterable[IncomingEvent]], Awaitable[tuple[list[Placement | Invalid], int]]]

_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 2.0
_MOST_DELIVERIES: Final = 5

logger = logging.getLogger("tact.features.stream")


class EventConsumer:
    """Applies the messages of a stream, whatever happens to the stream, the store or single messages.

    A message is acknowledged once its event is stored, or once it lies among the dead letters because
    no repetition could help. Where the store cannot take it, it is delivered again later.
    """

    def __init__(
        self, addresses: Addresses, ingest: Ingest, now: Callable[[], int], metrics: StreamMetrics
    ) -> None:
        """Consume from ``addresses``; ``now`` returns UTC microseconds since 1970."""
        self._addresses = addresses
        self._ingest = ingest
        self._now = now
        self._metrics = metrics
        self._lag = Lag(0, None)
        self._pause = self._outage_pause = _FIRST_PAUSE_SECONDS
        self._clock = asyncio.get_running_loop().time
        self._stopping = asyncio.Event()
        self._was_lost = False
        metrics.watch_age(self._age_seconds)

    def stop(self) -> None:
        """Take no more; ``run`` returns once what was taken is applied."""
        self._stopping.set()

    async def run(self) -> None:
        """Consume until stopped; connect again, less and less often, whenever the stream is lost."""
        while not self._stopping.is_set():
            try:
                async with connected(self._addresses) as stream:
                    await self._consume(stream)
            except StreamLost as lost:
                self._metrics.errors.labels("connection").inc()
                self._lost(str(lost))
            except Exception as error:
                self._metrics.errors.labels("defect").inc()
                log_defect("features", "stream", error)
                self._lost("defect")
            if not self._stopping.is_set():
                await self._rest(self._outage_pause)
                self._outage_pause = min(2 * self._outage_pause, _LONGEST_PAUSE_SECONDS)
        self._metrics.connected.set(0)

    async def _consume(self, stream: EventStream) -> None:
        await self._look(stream)
        self._found()
        looked = self._clock()
        while not self._stopping.is_set():
            if self._clock() >= looked + _LOOK_SECONDS:
                await self._look(stream)
                looked = self._clock()
            await self._take(stream, await stream.fetch())
        # What came just after the last fetch gave up would wait for its redelivery.
        if stream.has_more:
            await self._take(stream, await stream.fetch())

    async def _look(self, stream: EventStream) -> None:
        """Measure the lag; it fails as well where streams or the consumer were deleted."""
        self._lag = await stream.lag()
        self._metrics.pending.set(self._lag.pending)

    async def _take(self, stream: EventStream, messages: Sequence[Msg]) -> None:
        """Apply messages together, or each alone where together they make the service fail."""
        if not messages:
            return
        try:
            await self._apply(stream, messages)
            self._pause = _FIRST_PAUSE_SECONDS
        except (StoreUnavailable, StoreOverloaded) as error:
            cause = "overloaded" if isinstance(error, StoreOverloaded) else "store"
            await self._postpone(stream, messages, cause, self._pause)
            # What comes next could not be stored either.
            await self._rest(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        except StreamLost:
            raise
        except Exception as error:
            log_defect("features", "stream", error)
            if len(messages) > 1:
                for message in messages:
                    await self._take(stream, [message])
                return
            (message,) = messages
            if (times := message.metadata.num_delivered) < _MOST_DELIVERIES:
                await self._postpone(stream, messages, "defect", _FIRST_PAUSE_SECONDS * 2**times)
            else:
                await self._bury(stream, [(message, defective())])

    async def _apply(self, stream: EventStream, messages: Sequence[Msg]) -> None:
        read: list[Msg] = []
        dead: list[tuple[Msg, Fault]] = []

        def events() -> Iterator[IncomingEvent]:
            for message in messages:
                try:
                    event = read_event(message.data)
                except Unreadable as error:
                    dead.append((message, unreadable(error)))
                else:
                    read.append(message)
                    yield event

        answers, _ = await self._ingest(events())
        stored: list[Msg] = []
        for message, answer in zip(read, answers, strict=True):
            if isinstance(answer, Placed):
                stored.append(message)
            else:
                dead.append((message, refused(answer)))
        await stream.acknowledge(stored)
        self._metrics.messages.labels("applied").inc(len(stored))
        if stored:
            self._metrics.applied_time.set(self._now() / 1e6)
        await self._bury(stream, dead)

    async def _bury(self, stream: EventStream, dead: Sequence[tuple[Msg, Fault]]) -> None:
        for message, fault in dead:
            await stream.bury(message, fault)
            self._metrics.messages.labels("dead").inc()
            self._metrics.dead.labels(fault.reason).inc()
        if dead:
            reasons = Counter(fault.reason for _, fault in dead)
            self._say(logging.WARNING, "dead letters", **reasons)

    async def _postpone(
        self, stream: EventStream, messages: Sequence[Msg], cause: str, seconds: float
    ) -> None:
        self._metrics.errors.labels(cause).inc()
        self._metrics.messages.labels("postponed").inc(len(messages))
        self._say(logging.WARNING, "events postponed", cause=cause, messages=len(messages), seconds=seconds)
        await stream.postpone(messages, seconds)

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _age_seconds(self) -> float:
        if self._lag.oldest is None:
            return 0.0
        return max(0.0, self._now() / 1e6 - self._lag.oldest.timestamp())

    def _found(self) -> None:
        self._was_lost = False
        self._outage_pause = _FIRST_PAUSE_SECONDS
        self._metrics.connected.set(1)
        self._say(logging.INFO, "event stream connected", stream=self._addresses.stream)

    def _lost(self, cause: str) -> None:
        self._metrics.connected.set(0)
        if not self._was_lost:
            self._was_lost = True
            self._say(logging.ERROR, "event stream lost", stream=self._addresses.stream, cause=cause)

    def _say(self, level: int, what: str, **fields: object) -> None:
        logger.log(level, what, extra={"fields": {"service": "features", **fields}})


@asynccontextmanager
async def consuming(consumer: EventConsumer, drain_seconds: float) -> AsyncIterator[None]:
    """Consume while the block lasts; afterwards what was taken may be applied for so long."""
    task = asyncio.create_task(consumer.run())
    try:
        yield
    finally:
        consumer.stop()
        await asyncio.wait({task}, timeout=drain_seconds)
        task.cancel()
        await asyncio.wait({task})
