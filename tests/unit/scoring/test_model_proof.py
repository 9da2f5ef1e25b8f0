import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scoring.domain.bundle import Bundle, BundleRefused, Cause, Feature
from services.scoring.domain.calibration import Calibration
from services.scoring.domain.model import Model, verify

FEATURES = (
    Feature(name="customer.age", definition_hash="a", candidate=False),
    Feature(name="action.discount", definition_hash="b", candidate=True),
)
CALIBRATION = Calibration(slope=0.8, intercept=-1.5)
INPUTS = np.array([[0.0, 1.0], [2.0, np.nan], [-3.0, 0.5]])


class Sum:
    """A booster whose margin is the sum of what is present."""

    def __init__(self, names=("customer.age", "action.discount"), shift=0.0):
        self.feature_names = names
        self._shift = shift

    def margins(self, matrix):
        return np.nansum(matrix, axis=1) + self._shift


def bundle(**changes):
    original = Bundle(
        features=FEATURES,
        schema_fingerprint="f",
        calibration=CALIBRATION,
        priors={},
        overall_prior=0.1,
        playbook_version="p",
        model_text="",
        golden_inputs=INPUTS,
        golden_scores=CALIBRATION.probabilities(np.nansum(INPUTS, axis=1)),
        warm_up=(INPUTS[:1], INPUTS),
    )
    return dataclasses.replace(original, **changes)


def refusal(booster=None, **changes):
    with pytest.raises(BundleRefused) as caught:
        verify(Model(bundle(**changes), booster or Sum()))
    return caught.value.cause


def test_a_model_that_holds_its_word_passes():
    verify(Model(bundle(), Sum()))


def test_golden_scores_hold_to_1e_9():
    scores = bundle().golden_scores
    verify(Model(bundle(golden_scores=scores + 9e-10), Sum()))
    assert refusal(golden_scores=scores + 1.1e-9) is Cause.GOLDEN


def test_a_model_that_drifted_is_refused():
    assert refusal(Sum(shift=1e-6)) is Cause.GOLDEN


def test_golden_scores_that_are_missing_are_refused():
    assert refusal(golden_scores=np.full(3, np.nan)) is Cause.GOLDEN
    assert refusal(golden_scores=np.empty(0)) is Cause.GOLDEN
    assert refusal(golden_inputs=np.empty((0, 2)), golden_scores=np.empty(0)) is Cause.GOLDEN


@pytest.mark.parametrize("inputs", [INPUTS[:, :1], INPUTS[0], INPUTS.astype(np.float32)])
def test_inputs_of_another_shape_are_refused(inputs):
    assert refusal(golden_inputs=inputs) is Cause.GOLDEN
    assert refusal(warm_up=(inputs,)) is Cause.WARM_UP


@pytest.mark.parametrize("names", [("action.discount", "customer.age"), ("customer.age",)])
def test_a_model_with_other_columns_is_refused(names):
    assert refusal(Sum(names)) is Cause.LAYOUT


def test_a_warm_up_request_without_a_probability_is_refused():
    class Brittle(Sum):
        def margins(self, matrix):
            return np.full(len(matrix), np.nan) if len(matrix) == 1 else super().margins(matrix)

    assert refusal(Brittle()) is Cause.WARM_UP


def test_no_rows_get_no_scores():
    assert Model(bundle(), Sum()).scores(np.empty((0, 2))).shape == (0,)


margins = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30)


@given(slope=st.floats(1e-6, 1e3), intercept=st.floats(-1e6, 1e6), margins=margins)
def test_probabilities_rise_with_margins_and_stay_between_0_and_1(slope, intercept, margins):
    calibration = Calibration(slope=slope, intercept=intercept)
    probabilities = calibration.probabilities(np.sort(np.array(margins)))
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert (np.diff(probabilities) >= 0).all()
