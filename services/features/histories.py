"""What happened to customers, as far as features look back: from held state, else from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from services.engine.features.history import History
from services.features.domain.states import Reach, State, Version, floors, nothing
from services.features.metrics import FeatureMetrics
from services.features.ports import EventStore, StateStore, Want

_HOUR: Final = 3_600_000_000
_SLACK: Final = _HOUR
"""A state also serves reads as of so much earlier than the one that it was made for."""
_MOST_WASTE: Final = 24 * _HOUR
"""Of what no window needs any more, so much is held on."""


class Asked(NamedTuple):
    """A customer to read, given by all its ids, as of a time."""

    members: Sequence[str]
    as_of: int


class Snapshot(NamedTuple):
    """What happened to a customer as far as features look back, as the store was at ``sequence``."""

    history: History
    sequence: int


class Histories:
    """Reads customers.

    Each read asks the store which version it holds of each customer id, and uses a state only of that very
    version, or of an earlier one after loading what was added since. So nothing that was committed is ever
    missed, whoever committed it and however the call that did so ended: what is held is never stale.

    A state holds what features can look back at, and at most ``most_events``: more are loaded each time.
    """

    def __init__(
        self, store: EventStore, state: StateStore, most_events: int, metrics: FeatureMetrics
    ) -> None:
        self._store = store
        self._state = state
        self._most_events = most_events
        self._metrics = metrics

    async def read(self, asked: Sequence[Asked], reach: Reach) -> list[Snapshot]:
        """Return each customer's snapshot, all of one sequence; unknown ones have no events."""
        earliest: dict[str, int] = {}
        for members, as_of in asked:
            for member in members:
                earliest[member] = min(as_of, earliest.get(member, as_of))
        ids = list(earliest)
        found, newest = await self._store.versions(ids)
        while True:
            versions = dict(zip(ids, found, strict=True))
            states, loaded = await self._states(versions, earliest, reach)
            if not loaded:
                break
            # An erasure or an import meanwhile may have taken or added events of any sequence.
            again, _ = await self._store.versions(loaded)
            if all(now.change == versions[each].change for each, now in zip(loaded, again, strict=True)):
                break
            found, newest = await self._store.versions(ids)
        self._metrics.sequence.set(newest)
        return [Snapshot(_joined(states, members), newest) for members, _ in asked]

    async def _states(
        self, versions: Mapping[str, Version], earliest: Mapping[str, int], reach: Reach
    ) -> tuple[dict[str, State], list[str]]:
        """Return the state of each customer id that has events, and those ids that were loaded of."""
        known = {member: version for member, version in versions.items() if version.sequence}
        # Whoever was erased is let go of here too, and not only by the process that erased.
        changed = {
            member: nothing(version)
            for member, version in versions.items()
            if version.change and not version.sequence
        }
        held = dict(zip(known, await self._state.get(list(known)), strict=True)) if known else {}
        states: dict[str, State] = {}
        wants: dict[str, Want] = {}
        for member, version in known.items():
            state, as_of = held[member], earliest[member]
            if state is None or not _is_of(state, version) or not state.suits(floors(reach, as_of)):
                held[member] = None
                wants[member] = Want(member, floors(reach, as_of - _SLACK), 0, version.sequence)
            elif state.version != version:
                wants[member] = Want(member, state.floors, state.version.sequence, version.sequence)
            else:
                states[member] = state
        self._metrics.histories.labels("state").inc(len(states))
        loaded = await self._store.load(list(wants.values())) if wants else []
        for want, events in zip(wants.values(), loaded, strict=True):
            member, version = want.customer_id, known[want.customer_id]
            base = held[member]
            self._metrics.histories.labels("store" if base is None else "grown").inc()
            since = earliest[member] - _SLACK
            fresh = State(version, since, want.floors, events)
            states[member] = changed[member] = fresh if base is None else base.grown(version, events)
        for member, state in states.items():
            since = earliest[member] - _SLACK
            if since - state.since > _MOST_WASTE:
                states[member] = changed[member] = state.trimmed(since, reach)
            if member in changed and len(states[member].events) > self._most_events:
                self._metrics.overflows.inc()
                changed[member] = nothing(known[member])
        if changed:
            await self._state.put(changed)
        return states, list(wants)


def _is_of(state: State, version: Version) -> bool:
    """Tell whether a state is one of the versions that led to another."""
    return state.version.change == version.change and state.version.sequence <= version.sequence


def _joined(states: Mapping[str, State], members: Sequence[str]) -> History:
    found = [states[member] for member in members if member in states]
    if len(found) == 1:
        return found[0].history
    return History(chain.from_iterable(state.events for state in found))
