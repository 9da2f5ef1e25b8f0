"""What is served equals what is recomputed from the events up to its sequence, in every pair of stores.

Streams come out of order, late and twice, to customers some of whom are read as one; the recomputation is the
slow, obvious one of the feature tests. ``TACT_PARITY_STREAMS`` says how many streams there are.
"""

import asyncio
import os
import random
import typing
from bisect import bisect_left
from datetime import timedelta

import pytest
from event_stores import metrics, postgresql, process, redis, sqlite

from services.engine.features.history import Series, StoredEvent
from services.engine.moments import Moment
from services.engine.playbook import kinds
from services.features import histories
from services.features.domain.events import IncomingEvent
from services.features.handlers import FeatureHandlers, Key
from tests.playbooks import load_playbook
from tests.unit.engine.features import slow_features as slow

STREAMS = int(os.environ.get("TACT_PARITY_STREAMS", "400"))
TOGETHER = 200
ROUNDS = 2
FEW = 200
NOW = slow.NOW
EDGES = [
    d
    for s in slow.WINDOWS.values()
    if s
    for d in (-s * slow.SECOND - 1, -s * slow.SECOND, -s * slow.SECOND + 1)
]
ANY_WHERE = [{}, {"gift": True}]


READ = slow.BATTERY["expression"]


class Declared:
    """Features of each kind that is served, two with each of the windows, and what expressions read."""

    def __init__(self, windows, expressions):
        self.by_kind = {
            kind: [name for window in windows for name in declared_with(kind, window)]
            for kind in slow.VARIANTS
        }
        self.features = {n: slow.BATTERY[kind][n] for kind, names in self.by_kind.items() for n in names}
        self.features |= expressions
        self.expressions = expressions

    def playbook(self, folder):
        """Load the shop with these features."""
        own = {name: slow._SALE | {"attributes": found} for name, found in slow.ACTIONS.items()}
        return load_playbook(
            folder,
            ("features", "features", self.features),
            *(("events", "events", name, "attributes", "shop", {"type": "string"}) for name in slow.CLOSING),
            ("actions", "actions", own),
            ("policies", {}),
        )

    def recomputed(self, names, events, as_of, action_id):
        """Recompute features, slowly and obviously; what expressions read comes first."""
        found = {}
        for name in names:
            match (definition := self.features[name])["kind"]:
                case "affinity":
                    found[name] = slow.slow_affinity(definition, events, as_of, action_id)
                case "expression":
                    found[name] = slow.slow_formula(name, {n: found[n] for n in READ if n in found})
                case _:
                    found[name] = slow.slow(definition, events, as_of)
        return found


def declared_with(kind, window):
    """Return a feature, another for each window, and one whose value can be too old."""
    found = {
        name: "max_age" in definition
        for name, definition in slow.BATTERY[kind].items()
        if definition.get("window") == window and definition["where"] in ANY_WHERE
    }
    plain, aging = (
        [name for name, can_age in found.items() if can_age is wanted] for wanted in (False, True)
    )
    # Not each kind goes without a window.
    turn = list(slow.WINDOWS).index(window) % max(1, len(plain))
    return [*plain[turn : turn + 1], *aging[len(aging) // 2 :][:1]]


ALL = Declared(slow.WINDOWS, READ)
BOUNDED = Declared([window for window in slow.WINDOWS if window], {})
"""Features that look back for a while only, so that older events are not held."""


class Streams:
    """Customers and what happens to them, round by round."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self._number = 0
        self.sent = {}

    def batch(self, customers):
        """Return events of a round: some long ago, some on the edge of a window, some sent before."""
        draw = self._random
        batch = []
        for customer_id in customers:
            batch += [self._event(customer_id) for _ in range(draw.randrange(7))]
        if self.sent:
            batch += draw.choices(list(self.sent.values()), k=len(batch) // 5)
        draw.shuffle(batch)
        self.sent |= {event.event_id: event for event in batch}
        return batch

    def key(self, customer_id, others):
        """Return what to read: now, a while ago, or as of a moment beside an event."""
        draw = self._random
        as_of = NOW if draw.random() < 0.6 else NOW + draw.choice([*EDGES, 1, -1, 5 * slow.SECOND])
        members = (draw.choice(others),) if draw.random() < 0.2 else ()
        return as_of, Key(
            customer_id=customer_id,
            as_of_time=moment(as_of),
            action_ids=tuple(draw.sample(list(slow.ACTIONS), 2)),
            member_ids=members,
        )

    def _event(self, customer_id):
        draw = self._random
        self._number += 1
        offset = draw.choice(EDGES) if draw.random() < 0.4 else -draw.randrange(100 * slow.DAY)
        kind = draw.choice(["order", "order", *slow.CLOSING])
        attributes = self._attributes()
        if kind != "order":
            attributes = {name: value for name, value in attributes.items() if name == "shop"}
        return IncomingEvent(
            event_id=f"e{draw.randrange(10**9)}-{self._number}",
            customer_id=customer_id,
            type=kind,
            event_time=moment(NOW + offset),
            attributes=attributes,
        )

    def _attributes(self):
        draw = self._random
        if draw.random() < 0.2:
            return dict(slow.FULL)
        some = {
            "amount": draw.randrange(-5_000, 100_000) / 100,
            "items": draw.randrange(-3, 5),
            "category": draw.choice(slow.CATEGORIES),
            "shop": draw.choice(["north", "south", "wide", ""]),
            "gift": draw.random() < 0.5,
            "rating": draw.uniform(-5, 5),
        }
        return {name: value for name, value in some.items() if draw.random() < 0.7}


def moment(micros):
    return Moment(micros // 1_000_000, micros % 1_000_000 * 1_000)


def differences(opened, held, folder, streams, declared=ALL):
    """Serve so many streams, recompute all that was served; return what differs and how much was compared."""
    book = declared.playbook(folder / "playbook")
    source = Streams(streams)
    stored = {}
    served = []

    async def group(first):
        customers = [f"c{number}" for number in range(first, min(first + TOGETHER, streams))]
        for _ in range(ROUNDS):
            # Each round works on stores that were opened anew.
            async with opened(folder) as store, held() as state:
                handlers = FeatureHandlers(store, state, book, lambda: NOW + 10 * slow.SECOND, metrics(), 40)
                for _ in range(2):
                    batch = source.batch(customers)
                    answers, _ = await handlers.ingest(batch)
                    for event, placed in zip(batch, answers, strict=True):
                        stored.setdefault(event.customer_id, {})[event.event_id] = (placed.sequence, event)
                    keys = [source.key(customer_id, customers) for customer_id in customers]
                    vectors, _ = await handlers.vectors([key for _, key in keys], book.version, 0)
                    served.extend(zip(keys, vectors, strict=True))
        return handlers.current.features

    for first in range(0, streams, TOGETHER):
        yield from compared(declared, asyncio.run(group(first)), stored, served)
        served.clear()


def compared(declared, features, stored, served):
    """Yield (kind, name, served, recomputed, is the same) of a number of each kind, of every vector."""
    draw = random.Random(len(served))
    for (as_of, key), vectors in served:
        events = [
            StoredEvent(
                event_id=event.event_id,
                type=event.type,
                event_time=event.event_time.seconds * 1_000_000 + event.event_time.nanos // 1_000,
                attributes=event.attributes,
            )
            for member in {key.customer_id, *key.member_ids}
            for sequence, event in stored.get(member, {}).values()
            if sequence <= vectors.as_of_sequence
        ]
        row, action_id = draw.choice(list(enumerate(key.action_ids)))
        numbers = dict(zip(features.candidate_names, vectors.candidates[row].tolist(), strict=True))
        numbers |= zip(features.customer_names, vectors.customer.tolist(), strict=True)
        chosen = draw.sample(list(declared.by_kind.values()), len(declared.by_kind) // 2)
        names = [draw.choice(of_kind) for of_kind in chosen]
        if draw.random() < 0.15:
            names += declared.expressions
        for name, expected in declared.recomputed(names, events, as_of, action_id).items():
            is_same = slow.same(numbers[name], expected)
            yield declared.features[name]["kind"], name, numbers[name], expected, is_same


def tally(found):
    """Return how many numbers of each kind were compared, and the first of each kind that differs."""
    counts, wrong = {}, {}
    for kind, *numbers, is_same in found:
        counts[kind] = counts.get(kind, 0) + 1
        if not is_same:
            wrong.setdefault(kind, numbers)
    return counts, wrong


every_pair = pytest.mark.parametrize(("opened", "held"), [(sqlite, process), (postgresql, redis)])


@every_pair
def test_what_is_served_equals_what_is_recomputed_up_to_its_sequence(opened, held, tmp_path, record_property):
    counts = {}
    for declared in (ALL, BOUNDED):
        (folder := tmp_path / str(len(counts))).mkdir()
        found, wrong = tally(differences(opened, held, folder, STREAMS // 2, declared))
        assert wrong == {}
        counts = {kind: counts.get(kind, 0) + found.get(kind, 0) for kind in counts | found}
    record_property("streams", STREAMS)
    record_property("numbers", sum(counts.values()))
    served = {d for d in typing.get_args(kinds.AnyFeature) if kinds.is_served(d.model_construct())}
    assert set(counts) == {typing.get_args(d.model_fields["kind"].annotation)[0] for d in served}
    assert min(counts.values()) >= STREAMS


MILLISECOND = timedelta(milliseconds=1) // timedelta(microseconds=1)
WINDOWED = set(slow.VARIANTS)


@every_pair
@pytest.mark.parametrize("shift", [MILLISECOND, -MILLISECOND])
def test_a_window_that_begins_a_millisecond_off_is_noticed_in_every_kind(
    opened, held, shift, tmp_path, monkeypatch
):
    def shifted(series, as_of, window):
        end = bisect_left(series.times, as_of)
        if window is None:
            return 0, end
        return bisect_left(series.times, as_of - window // timedelta(microseconds=1) + shift, 0, end), end

    monkeypatch.setattr(Series, "bounds", shifted)
    _, wrong = tally(differences(opened, held, tmp_path, FEW))
    assert set(wrong) >= WINDOWED


@every_pair
def test_a_window_that_ends_a_millisecond_late_is_noticed(opened, held, tmp_path, monkeypatch):
    right = Series.bounds
    monkeypatch.setattr(
        Series, "bounds", lambda self, as_of, window: right(self, as_of + MILLISECOND, window)
    )
    _, wrong = tally(differences(opened, held, tmp_path, FEW))
    assert set(wrong) >= WINDOWED


@every_pair
def test_state_that_lacks_the_first_millisecond_of_a_window_is_noticed(opened, held, tmp_path, monkeypatch):
    right = histories.floors
    monkeypatch.setattr(
        histories, "floors", lambda reach, as_of: {k: f + MILLISECOND for k, f in right(reach, as_of).items()}
    )
    monkeypatch.setattr(histories, "_SLACK", 0)
    _, wrong = tally(differences(opened, held, tmp_path, FEW, BOUNDED))
    assert wrong
