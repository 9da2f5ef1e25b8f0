"""``playbook_version`` follows the configuration, and nothing else."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import load
from services.engine.playbook.source import read
from tests.playbooks import SHOP, changed, load_playbook, write_playbook
from tests.theatre import FILES, KEYS, write_theatre

# The place of an enum's words and of a list's rules is configuration; that of keys is not.
ORDERS = st.randoms(use_true_random=False)


def shuffled(data, random):
    if isinstance(data, dict):
        keys = list(data)
        random.shuffle(keys)
        return {key: shuffled(data[key], random) for key in keys}
    return [shuffled(item, random) for item in data] if isinstance(data, list) else data


def leaves(data, path=()):
    if isinstance(data, dict | list):
        for step, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(value, (*path, step))
    else:
        yield path, data


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return {
            "30d": "31d",
            "7d": "8d",
            "12h": "13h",
            "90d": "91d",
            "EUR": "USD",
            "UTC": "Europe/Paris",
        }.get(value, value[:-1] + "0" if value[-1:] == "1" else value + "1")
    return value + 1


@settings(max_examples=25)
@given(random=ORDERS)
def test_the_order_of_keys_changes_neither_version_nor_any_hash(tmp_path_factory, shop, random):
    texts = {name: json.dumps(shuffled(data, random)) for name, data in SHOP.items()}
    playbook = load_playbook(tmp_path_factory.mktemp("order"), **texts)
    assert playbook.version == shop.version
    assert playbook.definition_hashes == shop.definition_hashes
    ours, theirs = FeatureSet(playbook), FeatureSet(shop)
    assert ours.version == theirs.version
    assert ours.served_fingerprint == theirs.served_fingerprint
    assert ours.layout(ours.customer_names) == theirs.layout(theirs.customer_names)


@pytest.mark.parametrize(
    "write",
    [
        lambda data: json.dumps(data),
        lambda data: yaml.safe_dump(data, sort_keys=True, allow_unicode=True),
        lambda data: yaml.safe_dump(data, sort_keys=False, default_flow_style=True, width=30),
        lambda data: "# why\n" + yaml.safe_dump(data, indent=6).replace("\n", "  # because\n\n"),
        lambda data: yaml.safe_dump(data).replace("\n", "\r\n"),
        lambda data: "---\n" + yaml.safe_dump(data) + "...\n",
    ],
    ids=["json", "sorted", "flow", "comments", "crlf", "document"],
)
def test_layout_and_comments_do_not_change_the_version(tmp_path, shop, write):
    texts = {name: write(data) for name, data in SHOP.items()}
    assert load_playbook(tmp_path, **texts).version == shop.version


def test_anchors_and_aliases_are_layout(tmp_path, shop):
    profile = "identities: {email: &none {}}\nattributes:\n" + "".join(
        f"  {name}: {json.dumps(data)}\n" for name, data in SHOP["profile"]["attributes"].items()
    )
    head = json.dumps(SHOP["playbook"] | {"purposes": None}).replace(
        "null", "{marketing: &n {}, service: *n}"
    )
    assert load_playbook(tmp_path, profile=profile, playbook=head).version == shop.version


def test_cases_and_other_files_do_not_change_the_version(tmp_path, shop):
    folder = write_playbook(tmp_path)
    (folder / "README.md").write_text("free")
    (folder / "cases").mkdir()
    (folder / "cases" / "adult.yaml").write_text("anything")
    assert load(folder).version == shop.version


@pytest.mark.parametrize(
    "change",
    [
        ("playbook", "threshold", 0),
        ("playbook", "objective", "propensity"),
        ("playbook", "description", ""),
        ("actions", "actions", "sale", "value", "4.50"),
        ("actions", "actions", "sale", "class", "standard"),
        ("actions", "actions", "recall", "valid", {}),
        ("actions", "actions", "recall", "attributes", {}),
        ("features", "features", "orders_30d", "window", "720h"),
        ("features", "features", "category_share", "measure", "share"),
        ("actions", "groups", "offers", "outcome", "within", "168h"),
        ("policies", "applicability", []),
    ],
)
def test_another_spelling_of_the_same_configuration_keeps_the_version(tmp_path, shop, change):
    assert load_playbook(tmp_path, change).version == shop.version


def test_each_value_changes_the_version(tmp_path, shop):
    versions = {shop.version}
    for number, (path, value) in enumerate(leaves(SHOP)):
        try:
            playbook = load_playbook(tmp_path / str(number), (*path, other(value)))
        except PlaybookError:
            continue
        assert playbook.version not in versions, path
        versions.add(playbook.version)
    assert len(versions) > 30


def meaning(playbook):
    """Return all that the files of a playbook say, as it was read."""
    features, profile, events = playbook.features, playbook.profile, playbook.events
    return playbook.head, profile, events, features, playbook.catalogue, playbook.policies


def replaced(data, path, value):
    """Return a copy with another value at a path; ``...`` deletes."""
    if not path:
        return value
    step, *rest = path
    if isinstance(data, dict):
        inner = replaced(data[step], rest, value)
        return {
            key: inner if key == step else old for key, old in data.items() if (key, inner) != (step, ...)
        }
    inner = replaced(data[step], rest, value)
    return [*data[:step], *([] if inner is ... else [inner]), *data[step + 1 :]]


ELSE = {
    "by": "hall",
    "match": "hall",
    "time_zone": "Europe/Rome",
    "within": "2d",
    "after": "accepted",
    "feature": "queueing",
    "key": "campaign",
}


def alternatives(key, value, values):
    """Return what else may stand at a place: what stands under the same key elsewhere, or nothing."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value / 2]
    return [ELSE.get(key, other(value)), *sorted(values[key] - {value}), ...]


def test_the_version_changes_with_what_each_key_says_and_with_nothing_else(tmp_path):
    theatre = load(write_theatre(tmp_path / "theatre"))
    data = {name: read(tmp_path / "theatre" / name, name).data for name in FILES}
    values = {}
    for path, value in leaves(data):
        if isinstance(value, str):
            values.setdefault(path[-1], set()).add(value)
    covered, versions = set(), {theatre.version}
    for (name, *path), value in leaves(data):
        if covered.issuperset(path):
            continue
        for instead in alternatives(path[-1], value, values):
            text = json.dumps(replaced(data[name], path, instead))
            folder = write_theatre(tmp_path / "changed", **{name.removesuffix(".yaml"): text})
            try:
                playbook = load(folder)
            except PlaybookError:
                continue
            is_new = meaning(playbook) != meaning(theatre)
            assert (playbook.version not in versions) == is_new, (name, path, instead)
            if is_new:
                versions.add(playbook.version)
                covered |= {*path}
                break
    # There is one objective only; another method of exploration has another key.
    assert KEYS - covered == {"objective", "method", "temperature"}


@pytest.mark.parametrize(
    "change",
    [
        ("playbook", "description", "x"),
        ("playbook", "threshold", 0.000001),
        ("playbook", "purposes", "more", {}),
        ("profile", "attributes", "tier", "values", ["gold", "basic"]),
        ("events", "events", "clicked", "description", "x"),
        ("events", "events", "clicked", "attributes", "page", {"type": "string"}),
        ("features", "features", "gifts", "window", "1d"),
        ("features", "features", "gifts", "description", "x"),
        ("features", "features", "gifts", ...),
        ("actions", "actions", "sale", "valid", "through", ...),
        ("actions", "actions", "recall", "class", "transactional"),
        ("actions", "actions", "sale", "attributes", "categories", "shoes", 0.999999),
        ("actions", "actions", "sale", "attributes", "season", ""),
        ("actions", "groups", "offers", "outcome", "within", "validity"),
        ("policies", "eligibility", 0, "when", "profile.age >= 18 "),
        ("policies", "eligibility", 0, "applies_to", ...),
    ],
)
def test_each_change_of_configuration_changes_the_version(tmp_path, shop, change):
    assert load_playbook(tmp_path, change).version != shop.version


def test_the_order_of_rules_is_configuration(tmp_path, shop):
    rules = [SHOP["policies"]["eligibility"][0] | {"name": name} for name in ("one", "two")]
    versions = {
        load_playbook(tmp_path / str(number), ("policies", "eligibility", order)).version
        for number, order in enumerate((rules, rules[::-1]))
    }
    assert len(versions) == 2


def test_a_version_is_a_sha_256(shop):
    assert len(shop.version) == 64
    assert int(shop.version, 16) >= 0


# What a feature's number depends on, and what it does not.
DEFINITIONS = [
    (("features", "features", "orders_30d", "window", "29d"), {"orders_30d"}),
    (("features", "features", "orders_30d", "window", ...), {"orders_30d"}),
    (("features", "features", "orders_30d", "kind", "recency"), {"orders_30d"}),
    (("features", "features", "orders_30d", "event", "clicked"), {"orders_30d"}),
    (("features", "features", "gifts", "where", "gift", False), {"gifts"}),
    (("features", "features", "gifts", "where", "items", 1), {"gifts"}),
    (("features", "features", "spend_30d", "kind", "mean"), {"spend_30d"}),
    (("features", "features", "spend_30d", "attribute", "items"), {"spend_30d"}),
    (("features", "features", "category_share", "measure", "total"), {"category_share"}),
    (("features", "features", "category_share", "attribute", ...), {"category_share"}),
    (("features", "features", "category_share", "by", "shop"), {"category_share"}),
    (("features", "features", "clicks_of_offer", "to", "season"), {"clicks_of_offer"}),
    (("features", "features", "hour", "attribute", "weekday"), {"hour"}),
    (("events", "events", "order", "attributes", "amount", "scale", 3), {"spend_30d", "category_share"}),
    (
        ("events", "events", "order", "attributes", "category", "values", ["books", "shoes", "toys"]),
        {"last_category"},
    ),
    (("profile", "attributes", "tier", "values", ["gold", "basic"]), {"tier"}),
    (("playbook", "context", "page", "values", ["home", "basket", "search"]), {"page"}),
    (("actions", "attributes", "discount", "type", "decimal"), {"discount"}),
    (("features", "features", "shops", "attribute", "category"), {"shops"}),
    (("actions", "attributes", "season", {"type": "enum", "values": ["spring"]}), set()),
    (("features", "features", "orders_30d", "description", "x"), set()),
    (("features", "features", "orders_30d", "window", "720h"), set()),
    (("features", "features", "orders_30d", "where", {}), set()),
    (("features", "features", "category_share", "measure", "share"), set()),
    (("events", "events", "order", "description", "x"), set()),
    (("events", "events", "order", "attributes", "amount", "description", "x"), set()),
    (("events", "events", "order", "attributes", "voucher", {"type": "string"}), set()),
    (("profile", "attributes", "age", "type", "number"), set()),
    (("profile", "attributes", "tier", "description", "x"), set()),
    (("actions", "actions", "sale", "attributes", "categories", "shoes", 0.1), set()),
    (("actions", "actions", "sale", "attributes", "discount", 0.3), set()),
    (("actions", "actions", "sale", "value", 9), set()),
    (("playbook", "time_zone", "UTC"), set()),
    (("playbook", "name", "other"), set()),
    (("policies", {}), set()),
]


@pytest.mark.parametrize(("change", "affected"), DEFINITIONS)
def test_a_definition_hash_changes_with_the_meaning_of_its_feature_only(tmp_path, shop, change, affected):
    changes = [change]
    if change[-1] == "decimal":
        changes.append(("actions", "attributes", "discount", "scale", 1))
    if change[1:3] == ("attributes", "age"):
        changes.append(("policies", "eligibility", []))
    hashes = load_playbook(tmp_path, *changes).definition_hashes
    assert {name for name, digest in shop.definition_hashes.items() if hashes[name] != digest} == affected


def test_a_definition_hash_does_not_depend_on_the_name(tmp_path, shop):
    definition = SHOP["features"]["features"]["spend_30d"]
    hashes = load_playbook(tmp_path, ("features", "features", "renamed", definition)).definition_hashes
    assert hashes["renamed"] == shop.definition_hashes["spend_30d"]


def test_the_order_of_conditions_is_no_meaning(tmp_path):
    conditions = {"gift": True, "items": 2, "category": "toys"}
    hashes = [
        load_playbook(
            tmp_path / str(number), ("features", "features", "gifts", "where", dict(order))
        ).definition_hashes
        for number, order in enumerate((conditions.items(), reversed(conditions.items())))
    ]
    assert hashes[0] == hashes[1]


def test_changed_leaves_the_playbook_itself_alone():
    before = json.dumps(SHOP)
    changed(("playbook", "name", "other"), ("features", "features", "gifts", ...))
    assert json.dumps(SHOP) == before


def test_another_word_of_an_enum_redefines_only_the_features_that_make_a_number_of_it(tmp_path):
    features = {
        "toys": {"kind": "count", "event": "order", "where": {"category": "toys"}},
        "categories": {"kind": "distinct", "event": "order", "attribute": "category"},
        "affinity": {"kind": "affinity", "event": "order", "by": "category", "to": "mood"},
        "newest": {"kind": "last", "event": "order", "attribute": "category"},
        "mood": {"kind": "action", "attribute": "mood"},
    }
    words = ["shoes", "books", "toys"]
    hashes = [
        load_playbook(
            tmp_path / str(number),
            ("features", "features", features),
            ("events", "events", "order", "attributes", "category", "values", words + more),
            ("actions", "attributes", "mood", {"type": "enum", "values": words + more}),
            ("policies", {}),
        ).definition_hashes
        for number, more in enumerate(([], ["hats"]))
    ]
    assert {name for name in features if hashes[0][name] != hashes[1][name]} == {"newest", "mood"}


def test_the_type_of_what_an_affinity_matches_is_meaning(tmp_path):
    features = {"affinity": {"kind": "affinity", "event": "order", "by": "shop", "to": "kind"}}
    hashes = [
        load_playbook(
            tmp_path / kind,
            ("features", "features", features),
            ("actions", "attributes", "kind", {"type": kind}),
            ("policies", {}),
        ).definition_hashes
        for kind in ("string", "weights")
    ]
    assert hashes[0] != hashes[1]


def test_another_method_of_exploration_is_another_version(tmp_path):
    head = FILES["playbook.yaml"]
    versions = {
        load(
            write_theatre(tmp_path, playbook=head.replace("method: epsilon\n  epsilon: 0.05", method))
        ).version
        for method in (
            "method: epsilon\n  epsilon: 0.05",
            "method: softmax\n  temperature: 0.05",
            "method: softmax\n  temperature: 0.06",
        )
    }
    assert len(versions) == 3


@settings(max_examples=25)
@given(random=ORDERS, comment=st.text("# abc:{}", max_size=8))
def test_neither_comments_nor_the_order_of_keys_are_part_of_the_version(tmp_path_factory, random, comment):
    folder = write_theatre(tmp_path_factory.mktemp("theatre"))
    theatre = load(folder)
    texts = {}
    for name in FILES:
        text = json.dumps(shuffled(read(folder / name, name).data, random), indent=1)
        texts[name.removesuffix(".yaml")] = text.replace("\n", f" # {comment}\n")
    again = load(write_theatre(folder, **texts))
    assert again.version == theatre.version
    assert again.definition_hashes == theatre.definition_hashes
