"""What the handlers need of a store of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.engine.features.history import History
from services.features.domain.events import Event
from services.features.domain.placement import Placement


class StoreUnavailable(Exception):
    """The store cannot be read or written; nothing was acknowledged. The message says why."""


class StoreOverloaded(Exception):
    """Too many writes are waiting; nothing was done."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to each event in order, and the store's newest sequence after them."""

    answers: Sequence[Placement]
    newest: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All the events of a customer, over all its members, up to ``sequence``, and none after it."""

    history: History
    sequence: int


class EventStore(Protocol):
    """Keeps events for ever.

    Sequences start at 1 and have no gaps. Every method raises ``StoreUnavailable``.
    """

    async def append(self, events: Sequence[Event]) -> Appended:
        """Store the events that are new; durable, and visible to every read, before it returns.

        Raises:
            StoreOverloaded: the caller should try again later.
        """
        ...

    async def snapshot(self, *members: str) -> Snapshot:
        """Return what happened to a customer, given by all its ids; no events of those unknown."""
        ...

    async def newest(self) -> int:
        """Return the newest sequence; 0 where the store is empty."""
        ...
