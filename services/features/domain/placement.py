"""Where events belong in the store: new ones get the next sequences, known ones keep theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.features.domain.events import Event, is_same


@dataclass(frozen=True, slots=True)
class Placed:
    """An event is stored under ``sequence``; ``duplicate`` where it was before."""

    sequence: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Reused:
    """Another event is stored under the same id; nothing was changed."""


Placement = Placed | Reused


@dataclass(frozen=True, slots=True)
class Placements:
    """The answer to each event in order, the new events by sequence, and the store's newest."""

    answers: tuple[Placement, ...]
    fresh: Mapping[int, Event]
    newest: int


def place(events: Iterable[Event], known: Mapping[str, tuple[int, Event]], newest: int) -> Placements:
    """Decide on each event, in order.

    ``known`` holds the stored events of the same ids with their sequences. Sequences go on from
    ``newest`` without gaps. An id that comes twice among ``events`` is stored once.
    """
    seen = dict(known)
    answers: list[Placement] = []
    fresh: dict[int, Event] = {}
    for event in events:
        if (found := seen.get(event.event_id)) is None:
            newest += 1
            seen[event.event_id] = newest, event
            fresh[newest] = event
            answers.append(Placed(newest, duplicate=False))
        elif is_same(event, found[1]):
            answers.append(Placed(found[0], duplicate=True))
        else:
            answers.append(Reused())
    return Placements(tuple(answers), fresh, newest)
