"""What is held of a customer id beside the store, as far as features can need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from services.engine.features.history import History, StoredEvent

ALWAYS: Final = -(2**63)
"""The floor under all times."""
_NEVER: Final = 2**63 - 1

Reach = Mapping[str, int | None]
"""How far back features look at the events of each type, in microseconds; None for ever."""
Floors = Mapping[str, int]
"""The earliest event time that is held, in microseconds since 1970, by type; other types are not held."""


class Version(NamedTuple):
    """What a store holds of a customer id: the sequence of its newest event, 0 where it has none.

    ``change`` is that of the newest act that was no new event: an erasure or an import. A greater version
    is a later one.
    """

    change: int
    sequence: int


def floors(reach: Reach, as_of: int) -> dict[str, int]:
    """Return the earliest event of each type that features as of a time can need."""
    return {kind: ALWAYS if back is None else as_of - back for kind, back in reach.items()}


def is_above(floors: Floors, kind: str, event_time: int) -> bool:
    """Tell whether an event is one of those that are held."""
    return event_time >= floors.get(kind, _NEVER)


class State:
    """The events of a customer id at a version, all those above the floors and no others.

    The floors are those of features as of ``since``. A state without any holds nothing.
    """

    __slots__ = ("_history", "events", "floors", "since", "version")

    def __init__(self, version: Version, since: int, floors: Floors, events: Sequence[StoredEvent]) -> None:
        self.version = version
        self.since = since
        self.floors = floors
        self.events = events
        self._history: History | None = None

    @property
    def history(self) -> History:
        """The events by type; made once."""
        if self._history is None:
            self._history = History(self.events)
        return self._history

    def suits(self, floors: Floors) -> bool:
        """Tell whether all events above other floors are held."""
        return all(self.floors.get(kind, _NEVER) <= floor for kind, floor in floors.items())

    def grown(self, version: Version, events: Iterable[StoredEvent]) -> State:
        """Return the state at a later version, which added ``events``."""
        return State(version, self.since, self.floors, [*self.events, *events])

    def trimmed(self, since: int, reach: Reach) -> State:
        """Return the same, without what features as of ``since`` and later do not need."""
        higher = {
            kind: max(floor, self.floors[kind])
            for kind, floor in floors(reach, since).items()
            if kind in self.floors
        }
        kept = [event for event in self.events if is_above(higher, event.type, event.event_time)]
        return State(self.version, since, higher, kept)


def nothing(version: Version) -> State:
    """Return a state that holds nothing, in the place of one that held too much or must be gone."""
    return State(version, 0, {}, ())
