"""Intervals against references and against simulated truth."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from training.evaluation import intervals
from training.evaluation.intervals import (
    Estimate,
    mean,
    mean_difference,
    share,
    share_difference,
    split_p_value,
)

RUNS = 600
counts = st.integers(1, 400).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
numbers = st.lists(st.integers(-1_000, 1_000).map(float), min_size=2, max_size=30).map(np.array)


def covered(hits, runs=RUNS, level=0.95):
    """Tell whether so many hits are what a level promises, give or take what 1 in 10,000 runs exceeds."""
    return stats.binomtest(hits, runs, level).pvalue > 1e-4


def holds(estimate, truth):
    return estimate.low <= truth <= estimate.high


def test_doctests():
    assert doctest.testmod(intervals).failed == 0


@given(counts)
def test_a_share_has_wilsons_interval(count):
    successes, total = count
    found, reference = (
        share(successes, total),
        stats.binomtest(successes, total).proportion_ci(0.95, "wilson"),
    )
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert 0 <= found.low <= found.value == successes / total <= found.high <= 1


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17, 873-890 (1998), table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_a_difference_of_shares_has_newcombes_interval(one, other, low, high):
    found = share_difference(*one, *other)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(counts, counts)
def test_differences_of_shares_are_antisymmetric(one, other):
    there, back = share_difference(*one, *other), share_difference(*other, *one)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_without_skewness_the_mean_has_students_interval():
    sample = np.array([1.0, 2.0, 4.0, 5.0])
    found, reference = mean(sample), stats.ttest_1samp(sample, 0.0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))


def test_without_skewness_a_difference_has_welchs_interval():
    one, other = np.array([1.0, 2.0, 4.0, 5.0, 7.0, 8.0]), np.array([0.0, 3.0, 3.0, 6.0])
    reference = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    # Skewness that is almost none must change almost nothing.
    for bend in (0.0, 1e-9):
        bent = one + bend * np.arange(6) ** 2
        found = mean_difference(bent, other)
        assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-6)


@given(numbers)
def test_bounds_are_where_the_corrected_statistic_meets_its_quantiles(sample):
    found = mean(sample)
    if found.low is None:
        assert len(set(sample)) == 1
        return
    count, skewness = len(sample), stats.skew(sample) * (1 - 1 / len(sample)) ** 1.5
    error = sample.std(ddof=1) / math.sqrt(count)
    for bound, sign in ((found.low, 1), (found.high, -1)):
        plain = (found.value - bound) / error
        root = skewness / math.sqrt(count)
        corrected = plain + root * plain**2 / 3 + root**2 * plain**3 / 27 + root / 6
        assert corrected == pytest.approx(sign * stats.t.ppf(0.975, count - 1), rel=1e-6, abs=1e-6)
    assert found.low < found.value < found.high


@given(numbers, numbers)
def test_differences_of_means_are_antisymmetric_and_of_a_constant_one_sided(one, other):
    there, back = mean_difference(one, other), mean_difference(other, one)
    assert back.value == -there.value
    if there.low is not None:
        assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    alone, against = mean(one), mean_difference(one, np.zeros(5))
    assert (alone.low is None) == (against.low is None)
    if alone.low is not None:
        assert (against.low, against.high) == pytest.approx((alone.low, alone.high))


def test_what_cannot_be_told_is_none():
    empty, alone, alike = np.array([]), np.array([3.0]), np.array([0.1, 0.1, 0.1])
    assert share(0, 0) is None
    assert share_difference(1, 2, 0, 0) is None is share_difference(0, 0, 1, 2)
    assert mean(empty) is None is mean_difference(empty, alike) is mean_difference(alike, empty)
    assert mean(alone) == Estimate(value=3.0)
    assert (mean(alike).low, mean(alike).high) == (None, None)
    assert mean_difference(alone, np.array([1.0, 2.0])) == Estimate(value=1.5)
    assert mean_difference(np.array([1.0, 2.0]), alone) == Estimate(value=-1.5)
    assert mean_difference(alike, alike) == Estimate(value=0.0)


@given(counts, st.floats(0.01, 0.99))
def test_a_split_is_judged_by_twice_the_smaller_tail(count, expected):
    successes, total = count
    tails = (stats.binomtest(successes, total, expected, way).pvalue for way in ("less", "greater"))
    assert split_p_value(successes, total, expected) == pytest.approx(min(1.0, 2 * min(tails)))


def test_a_split_that_is_certain_is_judged_too():
    assert split_p_value(10, 10, 1.0) == 1.0 == split_p_value(0, 10, 0.0) == split_p_value(0, 0, 0.3)
    assert split_p_value(9, 10, 1.0) == 0.0 == split_p_value(1, 10, 0.0)


def spending(rng, customers, chance, heavy):
    """Draw what customers bring: nothing for most, and a cost for some."""
    bought = rng.random(customers) < chance
    amounts = rng.lognormal(0.0, 1.0, customers) if heavy else np.full(customers, 4.0)
    return bought * amounts - 0.3 * (rng.random(customers) < 0.5), bought


def expectation(chance, heavy):
    return chance * (math.exp(0.5) if heavy else 4.0) - 0.15


@pytest.mark.parametrize(("customers", "chance"), [(100, 0.2), (400, 0.1), (1_000, 0.02)])
def test_intervals_hold_the_truth_as_often_as_they_promise(customers, chance):
    rng = np.random.default_rng(7)
    more, hits = chance * 1.5, np.zeros(4, dtype=int)
    for _ in range(RUNS):
        values, bought = spending(rng, customers, more, heavy=False)
        others, others_bought = spending(rng, 5 * customers, chance, heavy=False)
        truth = expectation(more, False)
        hits += [
            holds(mean(values), truth),
            holds(mean_difference(values, others), truth - expectation(chance, False)),
            holds(share(int(bought.sum()), customers), more),
            holds(
                share_difference(int(bought.sum()), customers, int(others_bought.sum()), 5 * customers),
                more - chance,
            ),
        ]
    assert [covered(int(one)) for one in hits] == [True] * 4, hits / RUNS


def test_heavy_tails_are_covered_better_than_by_students_interval():
    rng, chance, customers = np.random.default_rng(8), 0.2, 300
    corrected = plain = 0
    for _ in range(RUNS):
        values, _ = spending(rng, customers, chance, heavy=True)
        truth, reference = expectation(chance, True), stats.ttest_1samp(values, 0.0).confidence_interval()
        corrected += holds(mean(values), truth)
        plain += reference.low <= truth <= reference.high
    assert corrected > plain
    assert corrected / RUNS > 0.92
