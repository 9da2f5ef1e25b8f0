"""What the handlers need of a store of events, and of the state that is held beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.chassis.tables import Page
from services.engine.features.history import StoredEvent
from services.features.domain.events import Event
from services.features.domain.placement import Placement
from services.features.domain.states import Floors, State, Version


class StoreUnavailable(Exception):
    """The store cannot be read or written; nothing was acknowledged. The message says why."""


class StoreOverloaded(Exception):
    """Too many writes are waiting; nothing was done."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to each event in order, and the store's newest sequence after them."""

    answers: Sequence[Placement]
    newest: int


class Versions(NamedTuple):
    """The version of each customer id that was asked for, in order, and the store's newest sequence."""

    versions: Sequence[Version]
    newest: int


class Want(NamedTuple):
    """Events of a customer id to load: above the floors, of sequences in ``(after, until]``."""

    customer_id: str
    floors: Floors
    after: int
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure took from each table, and the sequence that it has."""

    rows: Mapping[str, int]
    sequence: int


class EventStore(Protocol):
    """Keeps events until they are erased.

    Each event takes the next sequence, from 1 on, as does each erasure. Every method raises
    ``StoreUnavailable``; the writing ones raise ``StoreOverloaded`` where the caller should try again later.
    What they return is durable, and visible to every later read.
    """

    async def store_id(self) -> str:
        """Return what tells this store from every other; it does not move with the events."""
        ...

    async def append(self, events: Sequence[Event]) -> Appended:
        """Store the events that are new."""
        ...

    async def versions(self, customer_ids: Sequence[str]) -> Versions:
        """Return what the store holds of customer ids, all at one moment."""
        ...

    async def load(self, wants: Sequence[Want]) -> list[list[StoredEvent]]:
        """Return the events that each asks for, in any order."""
        ...

    async def newest(self) -> int:
        """Return the newest sequence; 0 where the store is empty."""
        ...

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return rows of customer ids.

        Raises:
            InvalidRow: the token is none of an export.
        """
        ...

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], int]) -> Erased:
        """Delete all events of customer ids; their versions change.

        ``now`` is asked for the time once nothing holds the erasure up any more.
        """
        ...


class DeadLetters(Protocol):
    """Keeps what was sent to be an event and could be none."""

    async def erase(self, customer_ids: Sequence[str]) -> int:
        """Delete what is of these customers, as far as it can be told; return how many letters that were.

        Raises:
            StoreUnavailable: some may be left.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a kind of state holds now; ``bytes_per_customer`` is the mean over ``sampled`` customers.

    ``unavailable`` says why the rest is not known; empty where it is.
    """

    kind: str
    customers: int = 0
    bytes_per_customer: float | None = None
    sampled: int = 0
    unavailable: str = ""


class StateStore(Protocol):
    """Holds states of customer ids so that they need not be loaded; whatever it holds may be gone any time.

    It never fails: where it cannot be reached it holds nothing. Who reads a state compares its version with
    the store's, so a state that is not the newest does no harm.
    """

    async def get(self, customer_ids: Sequence[str]) -> list[State | None]:
        """Return the state of each customer id, None where none is held."""
        ...

    async def put(self, states: Mapping[str, State]) -> None:
        """Hold states by customer id, except in the place of those of later versions."""
        ...

    async def forget(self, customer_ids: Sequence[str], change: int) -> None:
        """Let go of customer ids, and hold nothing of them from before a change any more.

        Raises:
            StoreUnavailable: nobody knows whether something is still held.
        """
        ...

    async def describe(self) -> Described:
        """Tell how much is held."""
        ...
