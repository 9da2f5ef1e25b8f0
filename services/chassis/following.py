"""Follows what is published, and takes it over while everything runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MOST_POLLS_BETWEEN = 64
DEFECT = "defect"
_DETAIL_CHARS = 2_000

logger = logging.getLogger("tact.following")


class Source(Protocol[T_co]):
    """Where versions are published. Its errors may tell their ``cause`` in one word."""

    def newest(self) -> str | None:
        """Return the version to use, None where there is none yet."""
        ...

    def load(self, version: str) -> T_co:
        """Return a version, checked."""
        ...


class FollowMetrics:
    """Shows the version in use of a subject, and counts those refused."""

    def __init__(self, registry: CollectorRegistry, subject: str, causes: Iterable[str]) -> None:
        self.subject = subject
        self.refused = Counter(
            f"tact_{subject}_refused",
            f"Versions of the {subject} that were not taken over, by cause.",
            ["cause"],
            registry=registry,
        )
        self._in_use = Gauge(
            f"tact_{subject}", f"The {subject} in use.", ["name", "version"], registry=registry
        )
        self._shown: tuple[str, str] | None = None
        for cause in (*causes, DEFECT):
            self.refused.labels(cause)

    def show(self, name: str, version: str) -> None:
        """Show what is in use from now on."""
        shown, before = (name, version[:12]), self._shown
        self._in_use.labels(*shown).set(1)
        if before is not None and before != shown:
            self._in_use.remove(*before)
        self._shown = shown


class Follower(Generic[T]):
    """Takes over the newest version of something, once it is loaded and checked off the event loop.

    One that cannot be taken over is refused: it is counted and logged once, and what is in use stays.
    As it may be mended, it is tried again while it stays the newest, less and less often.
    """

    def __init__(
        self,
        service: str,
        source: Source[T],
        held: str,
        take: Callable[[T], Awaitable[None]],
        metrics: FollowMetrics,
    ) -> None:
        """Follow ``source`` for a service; ``held`` is in use, ``take`` puts another version into use."""
        self._service = service
        self._source = source
        self._held = held
        self._take = take
        self._metrics = metrics
        self._refused: str | None = None
        self._pause = self._polls_left = 0

    async def look(self) -> None:
        """Ask once for the newest version, and take it over; no error leaves here."""
        version = ""
        try:
            newest = await asyncio.to_thread(self._source.newest)
            version = newest or self._held
            if version == self._held:
                self._refused = None
            elif version != self._refused or self._is_due():
                await self._take(await asyncio.to_thread(self._source.load, version))
                self._held = version
                self._log(logging.INFO, "taken over", version)
        except Exception as error:
            self._refuse(version, error)

    async def follow(self, poll_seconds: float) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(poll_seconds)
            await self.look()

    def _is_due(self) -> bool:
        self._polls_left -= 1
        return self._polls_left <= 0

    def _refuse(self, version: str, error: Exception) -> None:
        if version == self._refused:
            self._pause = self._polls_left = min(2 * self._pause, MOST_POLLS_BETWEEN)
            return
        self._refused, self._pause, self._polls_left = version, 1, 1
        cause = getattr(error, "cause", None)
        self._metrics.refused.labels(cause or DEFECT).inc()
        if cause is None:
            logger.error("%s not taken over", self._metrics.subject, exc_info=error)
        self._log(logging.ERROR, "refused", version, cause=cause or DEFECT, detail=_detail(error, cause))

    def _log(self, level: int, what: str, version: str, **fields: str) -> None:
        about = {"service": self._service, "version": version, **fields}
        logger.log(level, "%s %s", self._metrics.subject, what, extra={"fields": about})


@asynccontextmanager
async def following(
    service: str,
    source: Source[T] | None,
    held: str,
    take: Callable[[T], Awaitable[None]],
    metrics: FollowMetrics,
    poll_seconds: float,
) -> AsyncIterator[None]:
    """Follow a source while the block lasts; without a source, what is held stays."""
    if source is None:
        yield
        return
    follower = Follower(service, source, held, take, metrics)
    task = asyncio.create_task(follower.follow(poll_seconds))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _detail(error: Exception, cause: Any) -> str:
    # The text of an error that nobody foresaw can hold anything.
    return type(error).__name__ if cause is None else str(error)[:_DETAIL_CHARS]
