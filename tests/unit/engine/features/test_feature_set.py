import gc
import math
from datetime import datetime

import pytest

from services.engine.features.feature_set import FeatureSet
from services.engine.features.history import History, StoredEvent
from services.engine.features.schema import fingerprint
from services.engine.instants import local_time, zone
from tests.playbooks import load_playbook

NOW = 1_750_000_000_000_000


@pytest.fixture(scope="module")
def features(shop):
    return FeatureSet(shop)


def test_customer_and_candidate_features_are_event_features_by_name(features):
    assert features.customer_names == (
        "gifts",
        "last_category",
        "mean_items",
        "order_recency",
        "orders_30d",
        "shops",
        "spend_30d",
    )
    assert features.candidate_names == ("category_share", "clicks_of_offer")


def test_without_events_counts_are_zero_and_the_rest_is_missing(features):
    row = dict(zip(features.customer_names, features.customer_vector(History(()), NOW).tolist(), strict=True))
    zero = {name for name, number in row.items() if number == 0.0}
    assert zero == {"gifts", "orders_30d", "shops", "spend_30d"}
    assert all(math.isnan(number) for name, number in row.items() if name not in zero)
    assert all(math.isnan(age) for age in features.customer_ages(History(()), NOW))


def test_candidate_vectors_have_a_row_for_each_action_in_the_order_asked(features):
    click = StoredEvent(event_id="c", type="clicked", event_time=NOW - 1, attributes={"offer": "sale"})
    rows = features.candidate_vectors(History([click]), NOW, ["recall", "sale", "recall"])
    assert rows.shape == (3, 2)
    assert rows[:, 1].tolist() == [0.0, 1.0, 0.0]
    assert math.isnan(rows[0, 0])


def test_no_actions_give_no_rows(features):
    assert features.candidate_vectors(History(()), NOW, []).shape == (0, 2)


def test_a_history_that_was_computed_is_freed_without_a_collection_of_garbage(shop, features):
    order = {"amount": 1.0, "items": 2, "category": "toys", "shop": "north"}
    events = [
        StoredEvent(event_id=kind, type=kind, event_time=NOW - 1, attributes=attributes)
        for kind, attributes in (("order", order), ("clicked", {"offer": "sale"}))
    ]
    gc.collect()
    gc.disable()
    try:
        history = History(events)
        features.customer_vector(history, NOW)
        features.candidate_vectors(history, NOW, list(shop.actions))
        del history
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("changes", [(), (("features", "features", {}), ("policies", {}))])
def test_an_unknown_action_is_an_error_also_without_candidate_features(tmp_path, changes):
    features = FeatureSet(load_playbook(tmp_path, *changes))
    with pytest.raises(KeyError):
        features.candidate_vectors(History(()), NOW, ["nowhere"])


def test_a_playbook_without_features_has_empty_vectors(tmp_path):
    features = FeatureSet(load_playbook(tmp_path, ("features", "features", {}), ("policies", {})))
    assert features.customer_vector(History(()), NOW).shape == (0,)
    assert features.candidate_vectors(History(()), NOW, ["sale"]).shape == (1, 0)


def test_profile_features_are_numbers_of_attributes(features):
    assert features.profile_values({"tier": "gold", "age": 5}) == {"tier": 1.0}
    assert math.isnan(features.profile_values({})["tier"])


@pytest.mark.parametrize(
    ("attribute", "moment", "number"),
    [
        ("hour", datetime(2025, 7, 1, 23, 59, tzinfo=zone("Europe/Berlin")), 23.0),
        ("hour", datetime(2025, 7, 1, 0, 0, tzinfo=zone("Asia/Tokyo")), 0.0),
        ("weekday", datetime(2025, 6, 30, tzinfo=zone("UTC")), 1.0),
        ("weekday", datetime(2025, 7, 6, tzinfo=zone("UTC")), 7.0),
    ],
)
def test_context_features_know_the_local_hour_and_weekday(tmp_path, attribute, moment, number):
    features = FeatureSet(load_playbook(tmp_path, ("features", "features", "hour", "attribute", attribute)))
    values = features.context_values({"page": "basket"}, local_time([moment]))
    assert values == {"page": 1.0, "hour": number}


def test_a_missing_context_attribute_is_nan(features):
    values = features.context_values({}, local_time([datetime(2025, 7, 1, 12, tzinfo=zone("UTC"))]))
    assert math.isnan(values["page"])
    assert values["hour"] == 12.0


def test_action_features_are_numbers_of_attributes(features):
    assert features.action_values("sale") == {"discount": 0.2}
    assert math.isnan(features.action_values("recall")["discount"])
    with pytest.raises(KeyError):
        features.action_values("nowhere")


def test_a_layout_names_hash_and_scope_in_the_given_order(shop, features):
    assert features.layout(["tier", "category_share"]) == [
        ("tier", shop.definition_hashes["tier"], False),
        ("category_share", shop.definition_hashes["category_share"], True),
    ]
    with pytest.raises(KeyError):
        features.layout(["nowhere"])


def test_fingerprints_tell_layouts_apart(features):
    layout = features.layout(features.customer_names)
    assert fingerprint(layout) != fingerprint(layout[::-1])
    assert fingerprint(layout) != fingerprint(layout[:-1])
    assert fingerprint([("a", "1", True)]) != fingerprint([("a", "1", False)])
    assert len(fingerprint([])) == 16


def test_the_version_covers_all_features_and_the_fingerprint_the_served_ones(tmp_path, features):
    definition = {"kind": "profile", "attribute": "member"}
    other = FeatureSet(load_playbook(tmp_path, ("features", "features", "member", definition)))
    assert other.version != features.version
    assert other.served_fingerprint == features.served_fingerprint


def test_expressions_are_served_with_the_features_that_they_read(tmp_path, shop):
    texts = {
        "per_order": "feature.spend_30d / feature.orders_30d",
        "a_lift": "feature.category_share * feature.per_order",
        "clicked_before": "feature.clicks_of_offer > 0.0 ? 1.0 : 0.0",
    }
    made = {name: {"kind": "expression", "expression": text} for name, text in texts.items()}
    features = FeatureSet(
        load_playbook(tmp_path, *(("features", "features", name, new) for name, new in made.items()))
    )
    plain = FeatureSet(shop)
    assert set(features.customer_names) == {*plain.customer_names, "per_order"}
    assert features.candidate_names == ("a_lift", "category_share", "clicked_before", "clicks_of_offer")
    assert features.served_fingerprint != plain.served_fingerprint
    events = [
        StoredEvent(
            event_id=str(number),
            type="order",
            event_time=NOW - 1_000_000 * number,
            attributes={"category": category, "amount": amount},
        )
        for number, (category, amount) in enumerate([("shoes", 3.0), ("toys", 1.0)], start=1)
    ]
    history = History(events)
    customer, ages = (
        dict(zip(features.customer_names, vector.tolist(), strict=True))
        for vector in (features.customer_vector(history, NOW), features.customer_ages(history, NOW))
    )
    assert customer["per_order"] == 2.0
    assert ages["per_order"] == 1.0
    sale, recall = features.candidate_vectors(history, NOW, ["sale", "recall"]).tolist()
    assert sale == [1.5, 0.75, 0.0, 0.0]
    assert math.isnan(recall[0])
    assert recall[2:] == [0.0, 0.0]
