"""Every kind, recomputed from its definition, slowly and obviously, over generated streams."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.features.feature_set import KINDS, FeatureSet
from services.engine.features.history import History, StoredEvent
from services.engine.playbook import kinds
from tests.playbooks import SHOP, load_playbook

NOW = 1_750_000_000_000_000
SECOND = 1_000_000
WINDOWS = {None: None, "45s": 45, "30m": 1_800, "12h": 43_200, "90d": 90 * 86_400}
CATEGORIES = ("shoes", "books", "toys")


def definitions():
    """Declare every kind with every window, attribute and condition that goes together."""
    plain = [{"kind": "count"}, {"kind": "recency"}]
    plain += [{"kind": kind, "attribute": name} for kind in ("sum", "mean") for name in ("amount", "items")]
    plain += [
        {"kind": "last", "attribute": name} for name in ("amount", "items", "category", "gift", "rating")
    ]
    plain += [
        {"kind": "distinct", "attribute": name} for name in ("shop", "category", "items", "gift", "rating")
    ]
    shares = [
        {"by": "category", "to": "categories"},
        {"by": "shop", "to": "season"},
        {"by": "shop", "to": "id"},
    ]
    plain += [
        {"kind": "affinity", **share, **({"attribute": name} if name else {}), "measure": measure}
        for share in shares
        for name in (None, "amount", "items")
        for measure in ("share", "total")
    ]
    conditions = [{}, {"gift": True}, {"category": "toys", "items": 2}]
    return [
        {
            **definition,
            "event": "order",
            **({"window": window} if window else {}),
            "where": conditions[number % 3],
        }
        for number, (definition, window) in enumerate((d, w) for d in plain for w in WINDOWS)
    ]


DEFINITIONS = {f"f{number}": definition for number, definition in enumerate(definitions())}
SALE = {key: value for key, value in SHOP["actions"]["actions"]["sale"].items() if key != "attributes"}
ACTIONS = {
    "wide": {"categories": {"shoes": 1.0, "books": 0.5, "toys": 0.25}, "season": "north"},
    "narrow": {"categories": {"toys": 1}, "season": "nowhere"},
    "strange": {"categories": {"hats": 1.0, "toys": 0.0}},
    "north": {},
}


@pytest.fixture(scope="module")
def playbook(tmp_path_factory):
    return load_playbook(
        tmp_path_factory.mktemp("kinds"),
        ("features", "features", DEFINITIONS),
        ("actions", "actions", {name: SALE | {"attributes": own} for name, own in ACTIONS.items()}),
        ("policies", {}),
    )


@pytest.fixture(scope="module")
def features(playbook):
    return FeatureSet(playbook)


# Slow and obvious: from the definition's own words, in exact arithmetic.


def in_window(events, definition, as_of):
    length = WINDOWS[definition.get("window")]
    return [
        event
        for event in events
        if event.type == definition["event"]
        and event.event_time < as_of
        and (length is None or event.event_time >= as_of - length * SECOND)
        and all(event.attributes.get(name) == value for name, value in definition["where"].items())
    ]


def exact(value):
    """Read a decimal as it was written."""
    return Fraction(str(value))


def slow(definition, events, as_of):
    found = in_window(events, definition, as_of)
    name = definition.get("attribute")
    values = [event.attributes[name] for event in found if name in event.attributes]
    match definition["kind"]:
        case "count":
            return len(found)
        case "recency":
            return Fraction(as_of - max(e.event_time for e in found), 86_400 * SECOND) if found else None
        case "sum":
            return sum(map(exact, values))
        case "mean":
            return sum(map(exact, values)) / len(values) if values else None
        case "distinct":
            return len(set(values))
        case "last":
            valued = [event for event in found if name in event.attributes]
            if not valued:
                return None
            newest = max(valued, key=lambda event: (event.event_time, event.event_id)).attributes[name]
            return CATEGORIES.index(newest) if name == "category" else Fraction(newest)


def slow_affinity(definition, events, as_of, action_id):
    to = definition["to"]
    wanted = action_id if to == "id" else ACTIONS[action_id].get(to)
    if wanted is None:
        return None
    wanted = {wanted: 1} if isinstance(wanted, str) else wanted
    matched = whole = Fraction(0)
    for event in in_window(events, definition, as_of):
        if (word := event.attributes.get(definition["by"])) is None:
            continue
        name = definition.get("attribute")
        amount = Fraction(1) if name is None else exact(event.attributes.get(name, 0))
        whole += amount
        matched += amount * Fraction(wanted.get(word, 0))
    if definition["measure"] == "total":
        return matched
    return matched / whole if whole > 0 else None


def same(found, expected):
    """Compare to the last bit; the generated weights are exact in floats."""
    return math.isnan(found) if expected is None else found == float(expected)


OFFSETS = st.sampled_from(
    [0, 1, -1, *(-s * SECOND + d for s in WINDOWS.values() if s for d in (-1, 0, 1)), 5 * SECOND]
) | st.integers(-100 * 86_400 * SECOND, 10 * SECOND)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.integers(-5_000, 100_000).map(lambda cents: cents / 100),
        "items": st.integers(-3, 4),
        "category": st.sampled_from(CATEGORIES),
        "shop": st.sampled_from(["north", "south", "wide", ""]),
        "gift": st.booleans(),
        "rating": st.floats(-5, 5),
    },
)
STREAMS = st.lists(
    st.tuples(OFFSETS, st.sampled_from(["order", "order", "clicked"]), ATTRIBUTES), max_size=25
).map(
    lambda rows: [
        StoredEvent(event_id=f"e{number}", type=kind, event_time=NOW + offset, attributes=attributes)
        for number, (offset, kind, attributes) in enumerate(rows)
    ]
)


def vectors(features, events, as_of=NOW):
    history = History(events)
    return (
        features.customer_vector(history, as_of),
        features.candidate_vectors(history, as_of, list(ACTIONS)),
        features.customer_ages(history, as_of),
    )


def assert_same_vectors(one, other):
    for left, right in zip(one, other, strict=True):
        assert left.tobytes() == right.tobytes()


def test_every_kind_of_event_feature_is_computed():
    declared = {kind for kind in vars(kinds).values() if isinstance(kind, type)}
    events = {kind for kind in declared if issubclass(kind, kinds.EventDefinition)} - {kinds.EventDefinition}
    assert set(KINDS) == events
    assert {definition["kind"] for definition in DEFINITIONS.values()} == {k.__name__.lower() for k in events}


@settings(max_examples=80)
@given(STREAMS)
def test_customer_features_agree_with_their_definitions_to_the_last_bit(features, events):
    row = features.customer_vector(History(events), NOW)
    for name, found in zip(features.customer_names, row.tolist(), strict=True):
        assert same(found, slow(DEFINITIONS[name], events, NOW)), (name, DEFINITIONS[name])


@settings(max_examples=80)
@given(STREAMS)
def test_affinities_agree_with_their_definitions_to_the_last_bit(features, events):
    rows = features.candidate_vectors(History(events), NOW, list(ACTIONS))
    for action_id, row in zip(ACTIONS, rows.tolist(), strict=True):
        for name, found in zip(features.candidate_names, row, strict=True):
            expected = slow_affinity(DEFINITIONS[name], events, NOW, action_id)
            assert same(found, expected), (action_id, DEFINITIONS[name])


@settings(max_examples=40)
@given(STREAMS)
def test_ages_are_the_seconds_since_the_newest_event_of_the_window(features, events):
    ages = features.customer_ages(History(events), NOW)
    for name, found in zip(features.customer_names, ages.tolist(), strict=True):
        newest = [event.event_time for event in in_window(events, DEFINITIONS[name], NOW)]
        assert same(found, Fraction(NOW - max(newest), SECOND) if newest else None)


@settings(max_examples=40)
@given(STREAMS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(features, events, order):
    other = list(events)
    order.shuffle(other)
    assert_same_vectors(vectors(features, events), vectors(features, other))


@settings(max_examples=40)
@given(STREAMS)
def test_events_at_or_after_t_change_nothing(features, events):
    past = [event for event in events if event.event_time < NOW]
    assert_same_vectors(vectors(features, events), vectors(features, past))


@settings(max_examples=40)
@given(STREAMS, st.lists(OFFSETS, min_size=1, max_size=5))
def test_a_history_answers_for_many_times_as_a_fresh_one_would(features, events, offsets):
    kept = History(events)
    for offset in offsets:
        as_of = NOW + offset
        served = features.customer_vector(kept, as_of), features.candidate_vectors(kept, as_of, list(ACTIONS))
        assert_same_vectors(served, vectors(features, events, as_of)[:2])


@settings(max_examples=40)
@given(STREAMS, st.integers(1, 20))
def test_numbers_are_finite_or_missing(features, events, scale):
    large = [
        StoredEvent(
            event_id=event.event_id,
            type=event.type,
            event_time=event.event_time,
            attributes={
                name: {"amount": 2.0**51 / 100 / scale, "items": 2**53 // scale, "rating": 1.7e308}.get(
                    name, value
                )
                for name, value in event.attributes.items()
            },
        )
        for event in events
    ]
    for vector in vectors(features, large):
        assert vector.dtype == np.float64
        assert not np.isinf(vector).any()


def test_the_heaviest_weights_on_the_largest_amounts_are_finite(tmp_path):
    playbook = load_playbook(
        tmp_path, ("actions", "actions", "sale", "attributes", "categories", {"shoes": 1e9, "books": 1e9})
    )
    events = [
        StoredEvent(
            event_id=str(n),
            type="order",
            event_time=NOW - n,
            attributes={"category": word, "amount": 2.0**44},
        )
        for n, word in enumerate(["shoes", "books"] * 500, start=1)
    ]
    row = FeatureSet(playbook).candidate_vectors(History(events), NOW, ["sale"])[0]
    assert np.isfinite(row).all()


def test_weighted_shares_are_near_their_definition_for_any_weights(tmp_path):
    draw = random.Random(7)
    weights = {f"shop {number}": draw.random() for number in range(40)}
    share = {"kind": "affinity", "event": "order", "by": "shop", "to": "categories", "attribute": "amount"}
    playbook = load_playbook(
        tmp_path,
        ("features", "features", {"share": share}),
        ("actions", "actions", "sale", "attributes", "categories", weights),
        ("policies", {}),
    )
    rows = [(draw.choice([*weights, "other"]), draw.randint(1, 10**7)) for _ in range(400)]
    events = [
        StoredEvent(
            event_id=str(n), type="order", event_time=n, attributes={"shop": word, "amount": cents / 100}
        )
        for n, (word, cents) in enumerate(rows)
    ]
    [[found]] = FeatureSet(playbook).candidate_vectors(History(events), NOW, ["sale"]).tolist()
    matched = sum(Fraction(weights.get(word, 0)) * cents for word, cents in rows)
    assert found == pytest.approx(float(matched / sum(cents for _, cents in rows)), rel=1e-14)


def test_sums_do_not_drift(tmp_path):
    playbook = load_playbook(tmp_path)
    events = [
        StoredEvent(event_id=str(n), type="order", event_time=NOW - 1 - n, attributes={"amount": 0.1})
        for n in range(20_000)
    ]
    row = FeatureSet(playbook).customer_vector(History(events), NOW).tolist()
    assert dict(zip(FeatureSet(playbook).customer_names, row, strict=True))["spend_30d"] == 2_000.0


def test_sums_and_means_are_rounded_once(features):
    draw = random.Random(3)
    for _ in range(50):
        events = [
            StoredEvent(
                event_id=str(n),
                type="order",
                event_time=NOW - 1,
                attributes={"amount": draw.randint(1, 10**12) / 100},
            )
            for n in range(draw.randint(1, 30))
        ]
        row = features.customer_vector(History(events), NOW).tolist()
        for name, found in zip(features.customer_names, row, strict=True):
            if DEFINITIONS[name]["kind"] in ("sum", "mean") and not DEFINITIONS[name]["where"]:
                assert same(found, slow(DEFINITIONS[name], events, NOW))


def test_a_word_that_is_no_longer_declared_is_missing(features):
    event = StoredEvent(event_id="e", type="order", event_time=NOW - 1, attributes={"category": "hats"})
    row = dict(
        zip(features.customer_names, features.customer_vector(History([event]), NOW).tolist(), strict=True)
    )
    lasts = [
        name
        for name, definition in DEFINITIONS.items()
        if definition["kind"] == "last" and definition["attribute"] == "category" and not definition["where"]
    ]
    assert lasts
    assert all(math.isnan(row[name]) for name in lasts)
