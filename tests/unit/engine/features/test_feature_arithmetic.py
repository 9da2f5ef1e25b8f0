"""Large, many and awkward amounts."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from services.engine.features.feature_set import FeatureSet
from services.engine.features.history import History, StoredEvent
from tests.playbooks import load_playbook
from tests.unit.engine.features.slow_features import BATTERY, NOW, feature_set, same, slow


def orders(*rows):
    """Make an order for each (time, attributes)."""
    return [
        StoredEvent(event_id=f"{number:06}", type="order", event_time=time, attributes=attributes)
        for number, (time, attributes) in enumerate(rows)
    ]


def customer(features, events, as_of=NOW):
    vector = features.customer_vector(History(events), as_of).tolist()
    return dict(zip(features.customer_names, vector, strict=True))


def with_features(folder, **definitions):
    return FeatureSet(load_playbook(folder, ("features", "features", definitions), ("policies", {})))


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
    features = FeatureSet(load_playbook(tmp_path))
    events = orders(*((NOW - 1 - n, {"amount": 0.1}) for n in range(20_000)))
    assert customer(features, events)["spend_30d"] == 2_000.0


@pytest.mark.parametrize("kind", ["sum", "mean", "rate"])
def test_sums_means_and_rates_are_rounded_once(tmp_path, kind):
    features = feature_set(tmp_path, kind)
    draw = random.Random(3)
    for _ in range(50):
        amounts = [{"amount": draw.randint(1, 10**12) / 100} for _ in range(draw.randint(1, 30))]
        events = orders(*((NOW - 1, amount) for amount in amounts))
        for name, found in customer(features, events).items():
            assert same(found, slow(BATTERY[kind][name], events, NOW)), BATTERY[kind][name]


def test_a_decayed_counter_halves_with_each_half_life(tmp_path):
    week = 7 * 86_400_000_000
    counter = {"kind": "decayed", "event": "order", "half_life": "7d"}
    features = with_features(tmp_path, orders=counter, spend=counter | {"attribute": "amount"})
    events = orders((NOW, {"amount": 12.5}), (NOW, {}))
    assert customer(features, events) == {"orders": 0.0, "spend": 0.0}
    for age in range(1, 1_074):
        assert customer(features, events, NOW + age * week) == {
            "orders": 2.0 * 2.0**-age,
            "spend": 1250.0 * 2.0**-age / 100,
        }


def test_a_decayed_counter_of_long_ago_falls_to_zero_and_does_not_overflow(tmp_path):
    features = with_features(
        tmp_path, spend={"kind": "decayed", "event": "order", "half_life": "1s", "attribute": "amount"}
    )
    events = orders(*((0, {"amount": sign * 2.0**51 / 100}) for sign in (1, 1, -1)))
    assert customer(features, events) == {"spend": 0.0}
    assert customer(features, events, 1)["spend"] == pytest.approx(2.0**51 / 100, rel=1e-6)


def test_a_decayed_counter_does_not_drift_over_many_events(tmp_path):
    features = with_features(tmp_path, orders={"kind": "decayed", "event": "order", "half_life": "1s"})
    events = orders(*((NOW - n, {}) for n in range(1, 20_001)))
    factor = 0.5**1e-6
    expected = factor * (1 - factor**20_000) / (1 - factor)
    assert customer(features, events)["orders"] == pytest.approx(expected, rel=1e-9)


def test_of_events_at_one_time_the_first_is_of_the_smallest_id_and_the_last_of_the_greatest(tmp_path):
    features = with_features(
        tmp_path,
        first={"kind": "first", "event": "order", "attribute": "items"},
        last={"kind": "last", "event": "order", "attribute": "items"},
    )
    events = orders((NOW - 1, {}), (NOW - 1, {"items": 1}), (NOW - 1, {"items": 2}), (NOW - 1, {}))
    assert customer(features, events[::-1]) == {"first": 1.0, "last": 2.0}


@pytest.mark.parametrize("kind", ["first", "last"])
def test_a_word_that_is_no_longer_declared_is_missing(tmp_path, kind):
    features = with_features(tmp_path, word={"kind": kind, "event": "order", "attribute": "category"})
    assert math.isnan(customer(features, orders((NOW - 1, {"category": "hats"})))["word"])


@pytest.mark.parametrize("kind", ["min", "max"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_value_that_is_no_number_any_more_does_not_count(tmp_path, kind, place):
    features = with_features(tmp_path, rating={"kind": kind, "event": "order", "attribute": "rating"})
    ratings = [2.0, 3.0]
    ratings.insert(place, "good")
    events = orders(*((NOW - 1, {"rating": rating}) for rating in ratings))
    assert customer(features, events) == {"rating": {"min": 2.0, "max": 3.0}[kind]}
