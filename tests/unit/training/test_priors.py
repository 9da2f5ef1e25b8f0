import pandas as pd
import pytest

from training.model.priors import smoothed_rates

GROUPS = pd.Series(["a"] * 90 + ["b"] * 10)
LABELS = pd.Series([1] * 9 + [0] * 81 + [1] * 5 + [0] * 5)


def test_small_groups_are_drawn_to_the_overall_rate():
    priors = smoothed_rates(GROUPS, LABELS, 20)
    assert priors.overall == pytest.approx(0.14)
    assert priors.by_group["a"] == pytest.approx((9 + 20 * 0.14) / 110)
    assert priors.by_group["b"] == pytest.approx((5 + 20 * 0.14) / 30)


def test_without_strength_priors_are_the_observed_rates():
    assert smoothed_rates(GROUPS, LABELS, 0).by_group == pytest.approx({"a": 0.1, "b": 0.5})


def test_a_group_never_seen_has_the_overall_rate():
    priors = smoothed_rates(GROUPS, LABELS, 20)
    assert priors.of(pd.Series(["a", "c"])).tolist() == pytest.approx([priors.by_group["a"], 0.14])
