"""Makes decisions again from their records: in small bits, so that others have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

from services.engine.violations import InvalidRequest
from services.gateway.domain.decision import Decision
from services.gateway.domain.making import Edition
from services.gateway.domain.remaking import Recorded, remaking
from services.gateway.ports import NotRemade, Recollection

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remakes:
    """Runs the pipeline on what records hold, and on nothing else.

    ``edition`` returns the playbook of a version, None where it is not at hand. ``pause`` lets others
    have their turn after each bit of work; who holds ``turn`` is the only one at work.
    """

    edition: Callable[[str], Awaitable[Edition | None]]
    pause: Callable[[], Awaitable[None]]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def recorded(self, recollection: Recollection) -> tuple[Edition, Recorded]:
        """Return the edition that a decision was made by, and what it rested on.

        Raises:
            NotRemade: the playbook is not at hand, or the record is not of it.
        """
        version = recollection.playbook_version
        if (edition := await self.edition(version)) is None:
            raise NotRemade(f"playbook version {version} is not held")
        return edition, await self.politely(recollection.recorded(edition))

    async def decision(self, edition: Edition, recorded: Recorded) -> Decision:
        """Make a decision again.

        Raises:
            NotRemade: its request is wrong by now.
        """
        try:
            return await self.politely(remaking(edition, recorded))
        except InvalidRequest as error:
            raise NotRemade(f"the request on record is not valid any more: {error}") from None

    async def politely(self, steps: Generator[None, None, T]) -> T:
        """Do all steps of some work, with a pause after each, and return what comes of it."""
        while True:
            try:
                next(steps)
            except StopIteration as done:
                found: T = done.value
                return found
            await self.pause()
