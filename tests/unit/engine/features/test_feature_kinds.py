"""One battery of checks that every kind of feature passes."""

import os
import subprocess
import sys
import typing
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.features.feature_set import KINDS, FeatureSet
from services.engine.features.history import History, StoredEvent
from services.engine.playbook import kinds
from services.features.domain.states import floors, is_above
from tests.playbooks import load_playbook
from tests.unit.engine.features.slow_features import (
    ACTIONS,
    BATTERY,
    FULL,
    NOW,
    OFFSETS,
    SECOND,
    STREAMS,
    WINDOWS,
    feature_set,
    numbers,
    numbers_of,
    same,
    slow_age,
    slow_numbers,
)

FEW = settings(max_examples=25, deadline=None)


@pytest.fixture(scope="module", params=BATTERY)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def features(tmp_path_factory, kind):
    return feature_set(tmp_path_factory.mktemp(kind), kind)


def kind_of(definition):
    return typing.get_args(definition.model_fields["kind"].annotation)[0]


def test_every_kind_is_in_the_battery():
    union = typing.get_args(kinds.AnyFeature)
    assert {kind_of(definition) for definition in union} == set(BATTERY)
    assert {definition for definition in union if issubclass(definition, kinds.EventDefinition)} == set(KINDS)
    for kind, definitions in BATTERY.items():
        assert kind in {definition["kind"] for definition in definitions.values()}


def test_every_field_of_every_kind_is_in_the_battery(kind):
    [definition] = [d for d in typing.get_args(kinds.AnyFeature) if kind_of(d) == kind]
    written = set().union(*(d.keys() for d in BATTERY[kind].values() if d["kind"] == kind))
    assert written == set(definition.model_fields) - {"description"}


@settings(max_examples=60, deadline=None)
@given(events=STREAMS)
def test_numbers_agree_with_their_definitions(features, kind, events):
    found = numbers(features, events)
    seen = set()
    for action_id in ACTIONS:
        for name, expected in slow_numbers(kind, events, NOW, action_id).items():
            key = f"{action_id} {name}"
            number = found.candidates[key] if key in found.candidates else found.customer[name]
            assert same(number, expected), (action_id, name, BATTERY[kind][name], number, expected)
            seen.add(name)
    assert seen == set(BATTERY[kind])


@FEW
@given(events=STREAMS)
def test_ages_are_the_seconds_since_the_newest_event_that_counts(features, kind, events):
    for name, age in numbers(features, events).ages.items():
        assert same(age, slow_age(kind, name, events, NOW)), name


@FEW
@given(events=STREAMS, order=st.randoms(use_true_random=False))
def test_neither_the_order_of_arrival_nor_a_rebuilt_history_changes_a_bit(features, events, order):
    other = deepcopy(events)
    order.shuffle(other)
    assert numbers(features, events).bits == numbers(features, other).bits


@FEW
@given(events=STREAMS)
def test_events_at_or_after_t_change_nothing(features, events):
    past = [event for event in events if event.event_time < NOW]
    assert numbers(features, events).bits == numbers(features, past).bits


@FEW
@given(events=STREAMS, offsets=st.lists(OFFSETS, min_size=1, max_size=4))
def test_a_history_answers_for_many_times_as_a_fresh_one_would(features, events, offsets):
    kept = History(events)
    for offset in offsets:
        as_of = NOW + offset
        assert numbers_of(features, kept, as_of).bits == numbers(features, events, as_of).bits


@FEW
@given(events=STREAMS, scale=st.integers(1, 20))
def test_numbers_are_finite_or_missing(features, events, scale):
    vast = {"amount": 2.0**51 / 100 / scale, "items": 2**53 // scale, "rating": 1.7e308}
    large = [
        StoredEvent(
            event_id=event.event_id,
            type=event.type,
            event_time=event.event_time,
            attributes={name: vast.get(name, value) for name, value in event.attributes.items()},
        )
        for event in events
    ]
    assert features.customer_vector(History(large), NOW).dtype == np.float64
    for part in numbers(features, large):
        assert not np.isinf(list(part.values())).any()


@pytest.mark.parametrize("window", [window for window in WINDOWS if window])
def test_a_window_begins_with_its_first_microsecond_and_ends_before_t(features, kind, window):
    def found(*times):
        made = numbers(
            features,
            [StoredEvent(event_id=str(t), type="order", event_time=t, attributes=FULL) for t in times],
        )
        return {
            key: number.hex()
            for part in (made.customer, made.candidates)
            for key, number in part.items()
            if (definition := BATTERY[kind][key.split()[-1]]).get("window") == window
            and "max_age" not in definition
        }

    start = NOW - WINDOWS[window] * SECOND
    # One event alone has no interval.
    others = [(start + NOW) // 2] if kind == "interval" else []
    nothing = found(*others)
    assert found(*others, start - 1, NOW, NOW + 1) == nothing
    for inside in (start, NOW - 1):
        changed = {
            key.split()[-1] for key, number in found(*others, inside).items() if number != nothing[key]
        }
        assert changed == {key.split()[-1] for key in nothing}


@pytest.mark.parametrize("max_age", [length for length in WINDOWS if length])
def test_a_number_is_too_old_from_the_very_microsecond_on(features, kind, max_age):
    length = WINDOWS[max_age] * SECOND

    def binds(definition):
        # A gap between two events of a window needs one that is older than the newest.
        window = WINDOWS[definition.get("window")]
        reaches = window is None or window * SECOND >= length + (kind == "interval")
        return definition.get("max_age") == max_age and reaches

    def found(age):
        times = [NOW - age - 1, NOW - age] if kind == "interval" else [NOW - age]
        made = numbers(
            features,
            [StoredEvent(event_id=str(t), type="order", event_time=t, attributes=FULL) for t in times],
        )
        return made.ages, {
            key: number
            for key, number in (made.customer | made.candidates).items()
            if binds(BATTERY[kind][key.split()[-1]])
        }

    (old_ages, old), (_, young) = found(length), found(length - 1)
    for key, number in old.items():
        definition = BATTERY[kind][key.split()[-1]]
        assert same(number, definition.get("default")), key
        assert key not in old_ages or old_ages[key] == WINDOWS[max_age]
    changed = {key.split()[-1] for key in old if not same(young[key], None) and young[key] != old[key]}
    assert changed == {name for name, definition in BATTERY[kind].items() if binds(definition)}


def test_what_rests_on_no_event_is_not_too_old(features, kind):
    for name, number in numbers(features, []).customer.items():
        if "max_age" in (definition := BATTERY[kind][name]):
            is_amount = definition["kind"] in ("count", "sum", "rate", "distinct", "decayed")
            assert same(number, 0 if is_amount else definition.get("default")), name


@FEW
@given(events=STREAMS)
def test_events_that_no_feature_reaches_change_nothing(features, events):
    lowest = floors(features.reach, NOW)
    held = [event for event in events if is_above(lowest, event.type, event.event_time)]
    assert numbers(features, held).bits == numbers(features, events).bits


def test_a_limit_of_age_needs_no_older_events(tmp_path):
    orders = {"kind": "count", "event": "order", "window": "12h"}
    for number, definition in enumerate((orders, orders | {"max_age": "90d", "default": 1})):
        features = ("features", "features", {"orders": definition})
        playbook = load_playbook(tmp_path / str(number), features, ("policies", {}))
        assert FeatureSet(playbook).reach == {"order": WINDOWS["12h"] * SECOND}


_PRINT_BITS = """
import random, sys, tempfile
from pathlib import Path
from services.engine.features.history import StoredEvent
from tests.unit.engine.features.slow_features import BATTERY, CATEGORIES, DAY, NOW, feature_set, numbers

draw = random.Random(5)
events = [
    StoredEvent(
        event_id=f"e{number}", type="order", event_time=NOW - draw.randrange(100 * DAY),
        attributes={
            "amount": draw.randrange(10**6) / 100, "items": 2, "category": draw.choice(CATEGORIES),
            "shop": draw.choice(["north", "south", "wide"]), "gift": True, "rating": draw.random(),
        },
    )
    for number in range(300)
]
with tempfile.TemporaryDirectory() as folder:
    for kind in BATTERY:
        print(kind, numbers(feature_set(Path(folder) / kind, kind), events).bits)
"""


def test_another_process_computes_the_same_bits():
    printed = {
        subprocess.run(
            [sys.executable, "-c", _PRINT_BITS],
            cwd=Path(__file__).parents[4],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert printed.pop().count(b"\n") == len(BATTERY)


STRANGE = ["12.34", True, "", "toys", 3, -1.5, None]
"""What an attribute may hold that was declared otherwise when its events came; None stands for nothing."""


def test_values_of_an_older_declaration_are_missing_rather_than_misread(features, kind):
    """Nothing fails for a customer whose events were recorded under other types."""
    names = ("amount", "items", "rating", "category", "shop", "gift")
    strange = [
        StoredEvent(
            event_id=f"s{place}-{name}",
            type="order",
            event_time=NOW - (place + 1) * SECOND,
            attributes={} if value is None else {name: value},
        )
        for name in names
        for place, value in enumerate(STRANGE)
    ]
    found = numbers(features, strange)
    for name, number in {**found.customer, **found.candidates}.items():
        assert np.isfinite(number) or np.isnan(number), (name, number)


@pytest.mark.parametrize("kind_of_amount", ["sum", "mean", "rate", "decayed"])
def test_words_where_an_amount_is_meant_add_nothing(kind_of_amount, tmp_path):
    features = feature_set(tmp_path, kind_of_amount)
    usual = [
        StoredEvent(
            event_id=f"u{n}",
            type="order",
            event_time=NOW - n * SECOND,
            attributes={"amount": n / 4, "items": n},
        )
        for n in range(1, 9)
    ]
    spoilt = [
        StoredEvent(event_id=f"w{n}", type="order", event_time=NOW - n * SECOND, attributes=attributes)
        for n, attributes in enumerate(
            [{"amount": "7"}, {"items": True}, {"amount": "", "items": "many"}], start=1
        )
    ]
    alone, both = numbers(features, usual).customer, numbers(features, usual + spoilt).customer
    amounts = [name for name, d in BATTERY[kind_of_amount].items() if d.get("attribute") and not d["where"]]
    assert amounts
    for name in amounts:
        assert same(both[name], None if np.isnan(alone[name]) else alone[name]), name
