import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as reference

from training.evaluation.metrics import auc, brier, calibration_error, lift, log_loss

rows = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.01, 0.1, 0.2, 0.5, 0.7, 0.99])), min_size=2, max_size=80
)


@given(rows)
def test_metrics_are_those_of_scikit_learn(rows):
    labels = np.array([label for label, _ in rows])
    scores = np.array([score for _, score in rows])
    assume(0 < labels.sum() < len(labels))
    assert auc(labels, scores) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-12)
    assert log_loss(labels, scores) == pytest.approx(reference.log_loss(labels, scores), abs=1e-12)
    assert brier(labels, scores) == pytest.approx(reference.brier_score_loss(labels, scores), abs=1e-12)


@given(rows, st.randoms(use_true_random=False), st.sampled_from([0.1, 0.25, 1.0]))
def test_lift_is_the_mean_over_all_orders_of_ties(rows, random, share):
    labels = np.array([label for label, _ in rows])
    scores = np.array([score for _, score in rows])
    assume(labels.any())
    # Expected hits: each row's chance of a seat, seats being given to the best scores first.
    seats, chance = share * len(rows), np.zeros(len(rows))
    for score in sorted(set(scores), reverse=True):
        tied = scores == score
        chance[tied] = min(max(seats, 0) / tied.sum(), 1)
        seats -= tied.sum()
    expected = (labels * chance).sum() / (share * len(rows)) / labels.mean()
    assert lift(labels, scores, share) == pytest.approx(expected)
    order = np.array(random.sample(range(len(rows)), len(rows)))
    assert lift(labels[order], scores[order], share) == pytest.approx(expected)


def test_perfect_scores_lift_to_the_inverse_of_the_base_rate():
    labels = np.array([1] * 10 + [0] * 90)
    assert lift(labels, labels.astype(float)) == pytest.approx(10)


def test_calibration_error_of_two_known_bins():
    labels = np.array([0] * 50 + [1, 0] * 25)
    scores = np.array([0.1] * 50 + [0.9] * 50)
    # Ten bins of ten: five at 0.1 with none observed, five at 0.9 with half observed.
    assert calibration_error(labels, scores) == pytest.approx((0.1 + 0.4) / 2)


def test_calibrated_scores_have_little_calibration_error():
    rng = np.random.default_rng(0)
    scores = rng.random(50_000)
    assert calibration_error((rng.random(50_000) < scores).astype(int), scores) < 0.01
