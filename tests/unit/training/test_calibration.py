import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from training.model.calibration import Calibration, fit_calibration
from training.refusal import Refused

finite = st.floats(-1e6, 1e6)


def sample(rows=400, seed=0, slope=1.7, intercept=-1.0):
    rng = np.random.default_rng(seed)
    margins = rng.normal(size=rows)
    return margins, (rng.random(rows) < 1 / (1 + np.exp(-(slope * margins + intercept)))).astype(np.int8)


@given(slope=st.floats(1e-6, 1e3), intercept=finite, margins=st.lists(finite, min_size=1, max_size=30))
def test_probabilities_rise_with_margins_and_stay_between_0_and_1(slope, intercept, margins):
    ordered = np.sort(np.array(margins))
    probabilities = Calibration(slope=slope, intercept=intercept).probabilities(ordered)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert (np.diff(probabilities) >= 0).all()


def test_the_fit_minimises_platts_loss():
    margins, labels = sample()
    positives, negatives = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters):
        exponent = parameters[0] * margins + parameters[1]
        return np.sum(np.logaddexp(0, exponent) - target * exponent)

    best = minimize(loss, [1.0, 0.0], tol=1e-12).x
    fitted = fit_calibration(margins, labels)
    assert [fitted.slope, fitted.intercept] == pytest.approx(best, abs=1e-4)


def test_calibrated_rates_are_the_observed_rates():
    margins, labels = sample(20_000)
    fitted = fit_calibration(margins, labels)
    assert fitted.slope == pytest.approx(1.7, abs=0.1)
    assert fitted.probabilities(margins).mean() == pytest.approx(labels.mean(), abs=0.001)


def test_margins_that_separate_the_classes_give_a_finite_slope():
    margins = np.linspace(-1, 1, 40)
    fitted = fit_calibration(margins, (margins > 0).astype(np.int8))
    assert 0 < fitted.slope < 100


def test_margins_that_point_the_wrong_way_are_refused():
    margins, labels = sample()
    with pytest.raises(Refused, match="calibration slope is -"):
        fit_calibration(-margins, labels)


def test_equal_margins_are_refused():
    _, labels = sample()
    with pytest.raises(Refused, match="no signal"):
        fit_calibration(np.zeros(len(labels)), labels)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_refused(label):
    with pytest.raises(Refused, match="both are needed"):
        fit_calibration(np.arange(5.0), np.full(5, label, dtype=np.int8))
