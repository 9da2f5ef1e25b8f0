import numpy as np
import pytest

from training.evaluation.metrics import auc
from training.evaluation.report import Baseline, compare
from training.evaluation.resampling import CustomerBootstrap
from training.refusal import Refused


def sample(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(np.int8)
    return labels, np.clip(0.25 * labels + 0.7 * rng.random(rows), 0.01, 0.99)


def interval(labels, scores, customers, seed=1):
    return CustomerBootstrap(customers, labels, resamples=200, seed=seed).estimate(auc, scores).interval()


def test_the_same_seed_gives_the_same_interval():
    labels, scores = sample()
    customers = np.arange(len(labels))
    assert interval(labels, scores, customers) == interval(labels, scores, customers)
    assert interval(labels, scores, customers) != interval(labels, scores, customers, seed=2)


def test_an_interval_holds_its_value():
    labels, scores = sample()
    found = interval(labels, scores, np.arange(len(labels)))
    assert found.low < found.value == auc(labels, scores) < found.high


def test_repeating_a_customers_rows_adds_no_certainty():
    labels, scores = sample()
    customers = np.arange(len(labels))
    once = interval(labels, scores, customers)
    ten_times = interval(np.repeat(labels, 10), np.repeat(scores, 10), np.repeat(customers, 10))
    assert (ten_times.low, ten_times.high) == pytest.approx((once.low, once.high), abs=1e-12)


def test_resamples_keep_customers_whole():
    labels = np.array([1, 0] * 20, dtype=np.int8)
    customers = np.repeat(np.arange(20), 2)
    bootstrap = CustomerBootstrap(customers, labels, resamples=100, seed=0)
    rate = bootstrap.estimate(lambda chosen, _: float(chosen.mean()), np.zeros(40))
    assert (rate.replicates == 0.5).all()


def test_replicates_vary_as_theory_says():
    labels, scores = sample(1000)
    bootstrap = CustomerBootstrap(np.arange(1000), labels, resamples=400, seed=0)
    rate = bootstrap.estimate(lambda chosen, _: float(chosen.mean()), scores)
    expected = np.sqrt(labels.mean() * (1 - labels.mean()) / 1000)
    assert np.std(rate.replicates) == pytest.approx(expected, rel=0.15)


def test_resamples_of_one_class_are_drawn_anew():
    labels, scores = np.array([1, 0, 0], dtype=np.int8), np.array([0.9, 0.1, 0.2])
    estimate = CustomerBootstrap(["a", "b", "c"], labels, resamples=100, seed=0).estimate(auc, scores)
    assert (estimate.replicates == 1).all()


def test_a_score_does_not_differ_from_itself():
    labels, scores = sample()
    report = compare(labels, np.arange(300), scores, {"same": Baseline(scores=scores)}, resamples=100, seed=0)
    difference = report.baselines["same"].model_minus_baseline["auc"]
    assert (difference.low, difference.value, difference.high) == (0, 0, 0)


def test_paired_differences_are_more_certain_than_their_parts():
    labels, scores = sample()
    close = scores + 0.02 * np.random.default_rng(5).normal(size=300)
    report = compare(labels, np.arange(300), scores, {"close": Baseline(scores=close)}, resamples=200, seed=0)
    model, difference = report.metrics["auc"], report.baselines["close"].model_minus_baseline["auc"]
    assert difference.high - difference.low < 0.5 * (model.high - model.low)


def test_only_probabilities_get_a_log_loss():
    labels, scores = sample()
    baselines = {"count": Baseline(scores=scores * 100), "rate": Baseline(scores=scores, is_probability=True)}
    report = compare(labels, np.arange(300), scores, baselines, resamples=100, seed=0)
    assert set(report.baselines["count"].metrics) == {"auc", "lift_at_10"}
    assert "log_loss" in report.baselines["rate"].metrics
    assert report.as_json()["baselines"]["rate"]["metrics"]["log_loss"]["value"] > 0


def test_missing_values_of_a_baseline_rank_last():
    labels, scores = np.array([1, 0, 1, 0], dtype=np.int8), np.array([0.8, 0.1, 0.7, 0.2])
    baseline = Baseline(scores=np.array([-5.0, np.nan, -7.0, np.nan]))
    report = compare(labels, np.arange(4), scores, {"known": baseline}, resamples=100, seed=0)
    assert report.baselines["known"].metrics["auc"].value == 1


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_rows_of_one_class_are_refused(labels):
    scores = np.full(len(labels), 0.5)
    with pytest.raises(Refused, match="cannot be evaluated"):
        compare(np.array(labels, dtype=np.int8), range(len(labels)), scores, {}, resamples=100, seed=0)
