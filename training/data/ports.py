"""What is read of the past: the stores of the feature and of the profile service, whatever keeps them.

The tables are a contract with the two services; a test compares vectors made here with vectors that the
services serve.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, Protocol

from services.engine.features.history import StoredEvent


class Recorded(NamedTuple):
    """A value of an attribute, None from when on it was missing, and when it became known."""

    customer_id: str
    name: str
    record_time: int
    value: Any


class Sequenced(NamedTuple):
    """An event with its place in the store, and the id that it was sent with."""

    sequence: int
    customer_id: str
    event: StoredEvent


class EventReader(Protocol):
    """Reads what happened. Every method raises ``Refused``, what yields also on the way."""

    name: str

    def events(
        self, *, types: Collection[str] | None = None, customers: Collection[str] | None = None
    ) -> Iterator[tuple[str, StoredEvent]]:
        """Yield (customer id, event) in the order of storing; None means of all.

        The id is the one that the event was sent with. Memory does not grow with what is read.
        """
        ...

    def sequenced(self, customers: Collection[str]) -> Iterator[Sequenced]:
        """Yield the events of these ids with their sequences, in the order of storing."""
        ...

    def erased(self) -> Iterator[tuple[str, int]]:
        """Yield whose events were erased, by the SHA-256 of the id, and the sequence of that, in no order."""
        ...

    def last_event_time(self) -> int | None:
        """Return the newest event time in microseconds, None where no event is stored."""
        ...


class ProfileReader(Protocol):
    """Reads what was on file, and who is one customer. Every method raises ``Refused``, as above."""

    name: str

    def recorded(self, customers: Collection[str]) -> Iterator[Recorded]:
        """Yield every value that became known of these ids, in no order."""
        ...

    def pointers(self) -> Iterator[tuple[str, str]]:
        """Yield (member id, id that it was linked to), as they are now, in no order."""
        ...
