"""Events on their way into the feature service."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from tact.errors.v1 import errors_pb2
from tact.features.v1 import feature_service_pb2 as pb

from services.chassis.clients import OUT_OF_REACH, Stub
from services.chassis.faults import error_info, reason_name
from services.cli.failure import Failure

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 10.0
_OVERLOADED: Final = reason_name(errors_pb2.ERROR_REASON_OVERLOADED)

T = TypeVar("T")


class Sender:
    """Sends batches until they are taken, less and less often while the service cannot."""

    def __init__(self, stub: Stub, patience_seconds: float) -> None:
        self._stub = stub
        self._patience_seconds = patience_seconds
        self._is_waiting = False

    async def send(self, events: Sequence[pb.Event]) -> Sequence[pb.IngestEventResult]:
        """Store a batch; answers each event in order. Sending a batch again changes nothing.

        Raises:
            Failure: the service refused the batch, or could not take it for so long.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                response = await self._stub.IngestEvents(pb.IngestEventsRequest(events=events))
            except grpc.aio.AioRpcError as error:
                if not _may_pass(error) or loop.time() + pause > give_up:
                    raise Failure(f"the feature service did not take the events: {_told(error)}") from None
                self._say(error)
                # Not all of those who wait at the same time.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                self._is_waiting = False
                results: Sequence[pb.IngestEventResult] = response.results
                return results

    def _say(self, error: grpc.aio.AioRpcError) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            sys.stderr.write(f"waiting for the feature service: {_told(error)}\n")


async def side_by_side(calls: Iterable[Callable[[], Awaitable[T]]], most: int) -> AsyncIterator[T]:
    """Make calls, no more than ``most`` at the same time; yields what they return as they end.

    The next call is taken only once there is room for it. The first error ends it, and cancels the rest.
    """
    running: set[asyncio.Task[T]] = set()
    done: set[asyncio.Task[T]] = set()
    try:
        for call in calls:
            running.add(asyncio.ensure_future(_made(call)))
            done, running = await asyncio.wait(
                running,
                timeout=0 if len(running) < most else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                yield task.result()
        for each in asyncio.as_completed(running):
            yield await each
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, *done, return_exceptions=True)


async def _made(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


def _may_pass(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether the same call may do better later."""
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        info: Any = error_info(error)
        return info is not None and info.reason == _OVERLOADED
    return error.code() in (*OUT_OF_REACH, grpc.StatusCode.DEADLINE_EXCEEDED)


def _told(error: grpc.aio.AioRpcError) -> str:
    return f"{error.details() or 'no reason is given'} ({error.code().name})"
