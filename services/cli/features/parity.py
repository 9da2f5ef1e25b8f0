"""Features of decisions on record, recomputed from the events."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.chassis.faults import Fault
from services.chassis.tables import tombstone
from services.cli.decision_log import Entry
from services.cli.shelf import Shelf
from services.engine.features.history import History
from services.engine.instants import microseconds
from services.gateway.adapters.messages import record_of
from services.gateway.adapters.recollection import ProtoRecollection
from services.gateway.domain.knowledge import Features
from services.gateway.domain.making import Edition
from services.gateway.domain.remaking import Recorded, finished
from services.gateway.domain.situation import permitted_features
from services.gateway.ports import NotRemade
from training.data.ports import EventReader, Sequenced


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One number that is not what the events say; ``action_id`` is empty where it is the customer's."""

    feature: str
    action_id: str = ""
    served: float
    recomputed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What became of one decision: how many ``numbers`` were compared, or why none were."""

    decision_id: str
    numbers: int = 0
    differences: Sequence[Difference] = ()
    skipped: str = ""


class _Served(NamedTuple):
    """What a decision was served, and by which features."""

    edition: Edition
    recorded: Recorded
    features: Features
    members: Sequence[str]


_Events = Mapping[str, Sequence[Sequenced]]


class Parity:
    """Recomputes by the version of the playbook that each decision was made by."""

    def __init__(self, events: EventReader, shelf: Shelf) -> None:
        self._events = events
        self._shelf = shelf
        self._erased: Mapping[str, int] | None = None

    def compare(self, entries: Sequence[Entry]) -> Iterator[Compared]:
        """Compare each decision, in order.

        Raises:
            Refused: the events cannot be read.
        """
        if self._erased is None:
            self._erased = dict(self._events.erased())
        served = [self._served(entry, self._erased) for entry in entries]
        members = {member for each in served if not isinstance(each, str) for member in each.members}
        events: dict[str, list[Sequenced]] = defaultdict(list)
        for event in self._events.sequenced(members) if members else ():
            events[event.customer_id].append(event)
        for entry, each in zip(entries, served, strict=True):
            if isinstance(each, str):
                yield Compared(decision_id=entry.decision_id, skipped=each)
            else:
                pairs = list(_pairs(each, _recomputed(each, events)))
                different = [one for one in pairs if not _is_same(one.served, one.recomputed)]
                yield Compared(decision_id=entry.decision_id, numbers=len(pairs), differences=different)

    def _served(self, entry: Entry, erased: Mapping[str, int]) -> _Served | str:
        """Return what a decision was served, or why that cannot be told."""
        try:
            recollection = ProtoRecollection(record_of(entry.record))
            edition = self._shelf.held(recollection.playbook_version)
            recorded = finished(recollection.recorded(edition))
        except (Fault, NotRemade) as error:
            return str(error)
        if recorded.profile is None or recorded.features is None:
            return "no features were read"
        members, sequence = recorded.profile.members, recorded.features.sequence
        if any(erased.get(tombstone(member), 0) > sequence for member in members):
            return "the events of a member were erased since"
        return _Served(edition, recorded, recorded.features, members)


def _recomputed(served: _Served, events: _Events) -> Features:
    """Return the features as of the same time, from the events up to the same sequence."""
    (playbook, feature_set), features = served.edition, served.features
    history = History(
        each.event
        for member in served.members
        for each in events.get(member, ())
        if each.sequence <= features.sequence
    )
    as_of, actions = microseconds(features.as_of), list(features.candidates)
    customer = feature_set.customer_vector(history, as_of).tolist()
    ages = feature_set.customer_ages(history, as_of).tolist()
    rows = feature_set.candidate_vectors(history, as_of, actions).tolist()
    found = Features(
        as_of=features.as_of,
        sequence=features.sequence,
        customer=dict(zip(feature_set.customer_names, customer, strict=True)),
        ages=dict(zip(feature_set.customer_names, ages, strict=True)),
        candidates={
            action_id: dict(zip(feature_set.candidate_names, row, strict=True))
            for action_id, row in zip(actions, rows, strict=True)
        },
    )
    recorded = served.recorded
    if recorded.profile is None:
        return found
    return permitted_features(playbook, recorded.profile, found, recorded.decision_time)


def _pairs(served: _Served, recomputed: Features) -> Iterator[Difference]:
    """Yield every number beside what it should be."""
    features = served.features
    for name, number in features.customer.items():
        yield Difference(feature=name, served=number, recomputed=recomputed.customer[name])
    for name, number in features.ages.items():
        yield Difference(feature=f"age of {name}", served=number, recomputed=recomputed.ages[name])
    for action_id, row in features.candidates.items():
        for name, number in row.items():
            expected = recomputed.candidates[action_id][name]
            yield Difference(feature=name, action_id=action_id, served=number, recomputed=expected)


def _is_same(one: float, other: float) -> bool:
    """Tell whether two numbers are equal to the last bit; missing is missing."""
    return one.hex() == other.hex() or (math.isnan(one) and math.isnan(other))
