import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.arbitration.candidates import preferred
from tests.unit.engine.arbitration.slow_slates import candidate

AMOUNTS = st.integers(-(10**15), 10**15)
FACTORS = st.floats(0, 1e6)


def test_the_priority_is_lever_times_weight_times_propensity_times_value_less_cost_plus_measures():
    one = candidate(propensity=0.25, value=8, cost=0.5, lever=3.0, weight=0.5, measures_micros=-250_000)
    assert one.priority == 3.0 * 0.5 * 0.25 * 8 - 0.5 - 0.25
    assert candidate(propensity=None).priority is None


def test_what_earlier_contacts_add_to_the_cost_is_taken_off_with_it():
    dearer = candidate(propensity=0.25, value=8, cost=0.5, extra_cost_micros=250_000)
    assert dearer.priority == 0.25 * 8 - 0.75 == candidate(propensity=0.25, value=8, cost=0.75).priority
    assert dearer.priority_in("propensity_only") == 0.25


@given(st.floats(0, 1), FACTORS, FACTORS, AMOUNTS, AMOUNTS, AMOUNTS)
def test_a_priority_is_the_formula_to_float_precision(propensity, lever, weight, value, cost, measures):
    one = candidate(
        propensity=propensity,
        value=value / 10**6,
        cost=cost / 10**6,
        lever=lever,
        weight=weight,
        measures_micros=measures,
    )
    worth = Fraction(lever) * Fraction(weight) * Fraction(propensity) * one.value_micros
    exact = (worth - one.cost_micros + measures) / 1_000_000
    size = abs(worth) + abs(one.cost_micros) + abs(measures) + 1
    assert abs(Fraction(one.priority) - exact) <= size / 10**6 / 2**50


def test_arms_change_the_priority_of_standard_and_default_actions_only():
    factors = {"propensity": 0.5, "value": 8, "cost": 1, "lever": 3.0, "weight": 2.0}
    in_arms = {
        action_class: [
            candidate(action_class=action_class, **factors).priority_in(arm)
            for arm in ("", "no_levers", "propensity_only", "random_eligible", "eligibility_only", "hold_out")
        ]
        for action_class in ("standard", "default", "transactional", "mandatory")
    }
    assert in_arms["standard"] == in_arms["default"] == [23.0, 7.0, 0.5, 23.0, 23.0, 23.0]
    assert in_arms["transactional"] == in_arms["mandatory"] == [23.0] * 6


def ids(candidates):
    return sorted(one.treatment_id for one in candidates)


@pytest.mark.parametrize("action_class", ["transactional", "mandatory"])
def test_treatments_with_consent_push_out_those_without(action_class):
    treatments = [
        candidate(treatment_id="mail", action_class=action_class),
        candidate(treatment_id="push", action_class=action_class),
        candidate(treatment_id="text", action_class=action_class, consented=False, cost=-9),
    ]
    assert ids(preferred(treatments, "")) == ["mail", "push"]
    assert ids(preferred(treatments[2:], "")) == ["text"]


def test_consent_for_one_action_is_none_for_another():
    first = candidate("a", action_class="transactional")
    other = candidate("b", action_class="transactional", consented=False)
    assert preferred([first, other], "") == [first, other]


def test_a_standard_action_keeps_all_its_treatments():
    treatments = [candidate(treatment_id="x", consented=False), candidate(treatment_id="y")]
    assert preferred(treatments, "") == treatments


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"not_before": 1, "consented": False}, {"not_before": 2}),
        ({"delay_seconds": 60.0}, {"delay_seconds": 1.0, "consented": False}),
        ({"delay_seconds": 1.0, "cost": 5}, {"delay_seconds": 2.0}),
        ({"delay_seconds": 60.0, "cost": 5}, {"delay_seconds": math.inf}),
        ({"cost": 1}, {"cost": 2}),
        ({"cost": 1}, {"propensity": None}),
        ({}, {}),
    ],
)
@pytest.mark.parametrize("action_class", ["standard", "transactional", "mandatory", "default"])
def test_an_urgent_action_keeps_its_fastest_treatment(better, worse, action_class):
    shared = {"urgent": True, "action_class": action_class}
    treatments = [
        candidate(treatment_id="b", **shared, **worse),
        candidate(treatment_id="a", **shared, **better),
    ]
    assert ids(preferred(treatments, "")) == ["a"]


def test_the_worth_that_decides_between_urgent_treatments_is_that_in_the_arm():
    treatments = [
        candidate(treatment_id="x", urgent=True, propensity=0.9, cost=9),
        candidate(treatment_id="y", urgent=True, propensity=0.8),
    ]
    assert ids(preferred(treatments, "")) == ["y"]
    assert ids(preferred(treatments, "propensity_only")) == ["x"]
