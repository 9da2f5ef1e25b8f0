"""Models pin definition hashes and records name versions, so a key that is not set is part of neither."""

import pytest

from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.loader import load

TEXTS = {
    "playbook": """
name: kiosk
time_zone: UTC
currency: EUR
purposes: { marketing: {}, insight: { use: data } }
channels: { mail: {} }
context: { stage: { type: enum, values: [main, studio] } }
""",
    "profile": "attributes: { tier: { type: enum, values: [basic, gold] } }",
    "events": """
events:
  order:
    consent: insight
    attributes:
      amount: { type: decimal, scale: 2 }
      shop: { type: string }
      shade: { type: enum, values: [pale, deep] }
  returned: { attributes: { shop: { type: string } } }
""",
    "features": """
features:
  count: { kind: count, event: order, window: 30d, where: { shade: deep } }
  sum: { kind: sum, event: order, attribute: amount }
  mean: { kind: mean, event: order, attribute: amount }
  min: { kind: min, event: order, attribute: amount }
  max: { kind: max, event: order, attribute: amount }
  first: { kind: first, event: order, attribute: shade }
  last: { kind: last, event: order, attribute: shade }
  rate: { kind: rate, event: order, window: 7d }
  decayed: { kind: decayed, event: order, half_life: 12h }
  recency: { kind: recency, event: order, description: Days }
  open: { kind: open, event: order, key: shop, closed_by: [returned] }
  interval: { kind: interval, event: order }
  distinct: { kind: distinct, event: order, attribute: shop }
  affinity: { kind: affinity, event: order, by: shop, to: id }
  profile: { kind: profile, attribute: tier }
  context: { kind: context, attribute: stage }
  action: { kind: action, attribute: discount }
  expression: { kind: expression, expression: feature.sum / feature.count }
""",
    "actions": """
attributes: { discount: { type: number } }
groups: { all: {} }
actions:
  sale:
    { group: all, purpose: marketing, value: 1,
      treatments: { letter: { channel: mail, content: { text: Sale } } } }
""",
    "policies": "",
}
VERSION = "aebd6eac98bbafb520fe4b87a179709fa803d6b20785289831c12c55dccc45a0"
HASHES = {
    "count": "5b347d214c213f40",
    "sum": "524828ff7af03cb0",
    "mean": "84ce2f791d44ca3e",
    "min": "779d1fc5934373b4",
    "max": "2d919c392a5e28c1",
    "first": "472130ca1778344c",
    "last": "9035a8f3ab2d0c98",
    "rate": "eb16c772cf33d244",
    "decayed": "73a604421a7f27e4",
    "recency": "f1ef41844c716d74",
    "open": "bf83c1a0b8bfaa50",
    "interval": "d1aaa8a5b4ecc794",
    "distinct": "c0aa6ff29a5e9c2f",
    "affinity": "6c21d8af73024a85",
    "profile": "80c574ec29d2b955",
    "context": "adde02303c29f37f",
    "action": "5a2333f072a2a08d",
    "expression": "5b74bfc123524661",
}
"""What the playbook above had when there was neither ``max_age`` nor ``default``."""
FEATURE_SET, LAYOUT = "d41d5ddbc95393cb", "3ed3d1fc0bf8477b"


def kiosk(folder, old="", new=""):
    """Load the playbook, with the only ``old`` of its features replaced."""
    folder.mkdir(exist_ok=True)
    for name, text in TEXTS.items():
        changed = name == "features" and old
        assert not changed or text.count(old) == 1
        (folder / f"{name}.yaml").write_text(text.replace(old, new) if changed else text, encoding="utf-8")
    return load(folder)


def test_keys_that_are_not_set_change_no_hash_that_models_and_records_name(tmp_path):
    playbook = kiosk(tmp_path)
    assert playbook.version == VERSION
    assert playbook.definition_hashes == HASHES
    features = FeatureSet(playbook)
    assert (features.version, features.served_fingerprint) == (FEATURE_SET, LAYOUT)


def test_a_key_that_is_set_to_nothing_is_not_set(tmp_path):
    playbook = kiosk(
        tmp_path, "event: order, half_life", "max_age: null, default: ~, event: order, half_life"
    )
    assert (playbook.version, playbook.definition_hashes) == (VERSION, HASHES)


@pytest.mark.parametrize("stated", ["max_age: 1d", "default: 0", "default: -0.5", "max_age: 1d, default: 0"])
@pytest.mark.parametrize(
    "kind", [kind for kind in HASHES if kind not in ("profile", "context", "action", "expression")]
)
def test_a_key_that_is_set_changes_the_version_and_the_hash_of_its_feature(tmp_path, kind, stated):
    playbook = kiosk(tmp_path, f"kind: {kind},", f"kind: {kind}, {stated},")
    changed = {name for name, digest in playbook.definition_hashes.items() if digest != HASHES[name]}
    assert changed == {kind} | ({"expression"} if kind in ("sum", "count") else set())
    assert playbook.version != VERSION


def test_a_default_of_an_expression_changes_its_hash(tmp_path):
    playbook = kiosk(tmp_path, "kind: expression,", "kind: expression, default: 0,")
    assert [name for name in HASHES if playbook.definition_hashes[name] != HASHES[name]] == ["expression"]


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ("default: 1", "default: 1.0", True),
        ("default: 0", "default: 1", False),
        ("max_age: 1d", "max_age: 24h", True),
        ("max_age: 1d", "max_age: 25h", False),
    ],
)
def test_what_is_set_is_hashed_by_what_it_means(tmp_path, one, other, are_same):
    first, second = (
        kiosk(tmp_path / str(number), "kind: mean,", f"kind: mean, {stated},")
        for number, stated in enumerate((one, other))
    )
    assert (first.version == second.version) == are_same
    assert (first.definition_hashes == second.definition_hashes) == are_same
