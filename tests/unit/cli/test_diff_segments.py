"""How decisions are divided, and how figures are written."""

import doctest
from itertools import pairwise

import numpy as np
import pytest
from differing import diff, edition, logged
from hypothesis import given
from hypothesis import strategies as st

from services.cli.diff import segments, table
from services.cli.failure import Failure

BASE = edition()
NUMBERS = st.one_of(st.none(), st.integers(-5, 60), st.floats(-9, 99, allow_nan=False))
WORDS = st.one_of(st.none(), st.text(max_size=2))


def test_examples_in_docstrings_hold():
    assert doctest.testmod(table).failed == 0


@given(st.one_of(st.lists(NUMBERS, max_size=80), st.lists(WORDS, max_size=80), st.lists(st.booleans())))
def test_every_decision_is_in_one_segment(values):
    parts = list(segments.divide(values))
    places = [place for _, part in parts for place in part]
    assert sorted(places) == list(range(len(values)))
    assert len({label for label, _ in parts}) == len(parts)
    assert all(part for _, part in parts)
    for label, part in parts:
        missing = {values[place] is None for place in part}
        assert missing == {label == "(missing)"}


@given(st.randoms(use_true_random=False), st.integers(40, 200))
def test_many_numbers_are_divided_into_ten_about_equal_ranges(rng, size):
    values = rng.sample(range(10_000), size)
    parts = [[values[place] for place in part] for _, part in segments.divide(values)]
    assert len(parts) == 10
    assert all(max(low) < min(high) for low, high in pairwise(parts))
    assert max(map(len, parts)) - min(map(len, parts)) <= 2


def test_equal_numbers_stay_together():
    values = [0] * 70 + list(range(1, 31))
    parts = dict(segments.divide(values))
    assert parts["0"] == list(range(70))
    assert sum(map(len, parts.values())) == 100


def test_few_numbers_and_truth_values_are_segments_of_their_own():
    assert dict(segments.divide([2, 1.5, 2, None])) == {"1.5": [1], "2": [0, 2], "(missing)": [3]}
    assert dict(segments.divide([True, False, True])) == {"no": [1], "yes": [0, 2]}


def test_of_many_words_the_rare_ones_are_one_segment():
    words = [f"w{number}" for number in range(20)] + ["w19", "w18"]
    parts = dict(segments.divide(words))
    assert len(parts) == segments.MOST + 1
    assert parts["w19"] == [19, 20]
    assert len(parts["(8 others)"]) == 8


@pytest.mark.parametrize(
    "name",
    ["profile.region", "profile.age", "context.basket", "context.channel", "feature.spend", "feature.region"],
)
def test_what_a_decision_knew_can_divide_it(name):
    log = logged(BASE, decisions=30)
    segments.check(name, [BASE.playbook])
    comparison = diff(log, BASE, BASE, by=[name, "control_arm", "time.hour"])
    for row, record in zip(comparison.rows, log.records, strict=True):
        value, arm, hour = row.segments
        known = record.HasField("profile")
        assert (arm, hour) == (("none", row.time.hour) if known else (None, None))
        if name == "profile.region":
            attributes = record.profile.attributes
            assert value == (attributes["region"].value.string_value if known else None)
        if name == "feature.spend" and known:
            at = BASE.feature_set.customer_names.index("spend")
            spent = np.frombuffer(record.feature_vector, "<f8")[at]
            assert value == spent or (value is None and np.isnan(spent))


def test_what_only_the_new_playbook_knows_can_divide():
    new = edition(("profile", "attributes", "income", {"type": "integer"}))
    segments.check("profile.income", [BASE.playbook, new.playbook])
    rows = diff(logged(BASE, decisions=5), BASE, new, by=["profile.income"]).rows
    assert {row.segments for row in rows} == {(None,)}


def test_instants_divide_nothing():
    since = edition(("profile", "attributes", "since", {"type": "timestamp"}))
    with pytest.raises(Failure, match=r"--by profile.since: it is an instant"):
        segments.check("profile.since", [since.playbook])
