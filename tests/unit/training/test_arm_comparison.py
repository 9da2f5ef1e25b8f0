"""Arms compared: figures, and whether the truth of simulated logs is found."""

import numpy as np
import pytest
from scipy import stats

from training.evaluation.arms import Customer, compare_arms

RUNS = 200
EXPECTED = {"hold_out": 0.1, "no_levers": 0.1}
CHANCES = {"": 0.3, "hold_out": 0.3, "no_levers": 0.3}


def customer(arm="", succeeded=False, value=0.0, **changes):
    values = {"decisions": 1, "answered": 1, "reported": {}, "measures": {}} | changes
    return Customer(arm=arm, succeeded=succeeded, value=value, **values)


def simulate(rng, customers=900, chances=CHANCES):
    """Draw the customers of a log: who succeeds brings 4, half of them cost 0.50."""
    arms = rng.choice(["", *EXPECTED], customers, p=[0.8, *EXPECTED.values()])
    bought = rng.random(customers) < np.array([chances[arm] for arm in arms])
    cost = 0.5 * (rng.random(customers) < 0.5)
    return [
        customer(arm=str(arm), succeeded=bool(hit), value=4.0 * hit - paid)
        for arm, hit, paid in zip(arms, bought, cost, strict=True)
    ]


def by_name(customers, expected=EXPECTED):
    return {arm.name: arm for arm in compare_arms(customers, expected)}


def is_plausible(hits, runs, level):
    return stats.binomtest(hits, runs, level).pvalue > 1e-4


def test_no_effect_is_found_in_an_a_a_log_but_by_the_chance_that_is_allowed():
    rng, alarms, broken = np.random.default_rng(1), 0, 0
    for _ in range(RUNS):
        arms = by_name(simulate(rng))
        for name in EXPECTED:
            difference = arms[name].value_difference
            alarms += difference.low > 0 or difference.high < 0
        broken += any(arm.split.is_broken for arm in arms.values())
        assert not any(arm.is_thin for arm in arms.values())
    assert is_plausible(alarms, 2 * RUNS, 0.05)
    assert broken <= 3


def test_a_planted_effect_is_found_and_covered():
    rng, found, covered, points = np.random.default_rng(2), 0, 0, 0
    chances = CHANCES | {"hold_out": 0.1}
    for _ in range(RUNS):
        held = by_name(simulate(rng, chances=chances))["hold_out"]
        found += held.value_difference.high < 0
        covered += held.value_difference.low <= -0.8 <= held.value_difference.high
        points += held.success_difference.low <= -0.2 <= held.success_difference.high
    assert found / RUNS > 0.95
    assert is_plausible(covered, RUNS, 0.95)
    assert is_plausible(points, RUNS, 0.95)


def test_many_decisions_of_a_customer_add_no_certainty():
    rng = np.random.default_rng(3)
    once = simulate(rng, 300)
    often = [customer(arm=one.arm, succeeded=one.succeeded, value=one.value, decisions=50) for one in once]
    for few, many in zip(compare_arms(once, EXPECTED), compare_arms(often, EXPECTED), strict=True):
        assert (few.success, few.value, few.value_difference) == (
            many.success,
            many.value,
            many.value_difference,
        )
        assert many.decisions == 50 * few.decisions


def test_the_order_of_customers_does_not_matter():
    customers = simulate(np.random.default_rng(4), 200)
    for one, other in zip(
        compare_arms(customers, EXPECTED), compare_arms(customers[::-1], EXPECTED), strict=True
    ):
        assert (one.name, one.customers, one.succeeded, one.split) == (
            other.name,
            other.customers,
            other.succeeded,
            other.split,
        )
        assert one.value.value == pytest.approx(other.value.value)


def test_declared_arms_without_customers_are_told_with_zeros():
    arms = by_name([customer(), customer(succeeded=True)], EXPECTED)
    assert list(arms) == ["", "hold_out", "no_levers"]
    assert (arms["no_levers"].customers, arms["no_levers"].decisions) == (0, 0)
    assert arms["no_levers"].split.observed == 0
    assert arms["no_levers"].value is None is arms["no_levers"].value_difference
    assert arms["no_levers"].is_thin


def test_without_any_customer_nothing_is_observed():
    for arm in compare_arms([], EXPECTED):
        assert arm.split.observed is None is arm.success
        assert not arm.split.is_broken


def test_one_customer_in_an_arm_has_a_value_without_bounds():
    arm = by_name([customer("hold_out", value=3.0), customer(value=1.0), customer(value=2.0)])["hold_out"]
    assert (arm.value.value, arm.value.low) == (3.0, None)
    assert (arm.value_difference.value, arm.value_difference.low) == (1.5, None)
    assert arm.success.high < 0.8


def test_without_customers_of_no_arm_there_is_nothing_to_compare_with():
    arm = by_name([customer("hold_out", succeeded=True), customer("hold_out")])["hold_out"]
    assert arm.success.value == 0.5
    assert arm.success_difference is None is arm.value_difference


@pytest.mark.parametrize(("held", "is_broken"), [(10, False), (24, False), (25, True), (0, True)])
def test_a_split_that_chance_does_not_make_is_broken(held, is_broken):
    customers = [customer("hold_out")] * held + [customer()] * (100 - held)
    arm = by_name(customers, {"hold_out": 0.125})["hold_out"]
    assert arm.split.expected == 0.125
    assert arm.split.is_broken is is_broken


def test_a_share_that_is_not_known_is_not_tested():
    arms = by_name([customer("hold_out")] * 50 + [customer()], {"hold_out": None, "no_levers": 0.1})
    assert {arms[name].split.p_value for name in ("", "hold_out")} == {None}
    assert arms["no_levers"].split.p_value == pytest.approx(2 * 0.9**51)


def test_few_successes_are_called_thin_by_what_no_difference_would_give():
    def arm(successes):
        crowd = [customer(succeeded=number < successes) for number in range(900)]
        return by_name([*crowd, *[customer("hold_out")] * 100], {"hold_out": 0.1})["hold_out"]

    assert arm(99).is_thin
    assert not arm(100).is_thin


def test_measures_are_means_of_the_customers_who_had_them():
    customers = [
        customer("hold_out", measures={"effort": 2.0}),
        customer("hold_out", measures={"effort": 5.0, "delight": 1.0}),
        customer("hold_out"),
    ]
    measures = by_name(customers)["hold_out"].measures
    assert list(measures) == ["delight", "effort"]
    assert (measures["effort"].customers, measures["effort"].mean.value) == (2, 3.5)
    assert (measures["delight"].customers, measures["delight"].mean.low) == (1, None)


def test_reports_are_counted_by_kind():
    customers = [customer(reported={"VIEWED": 2}), customer(reported={"VIEWED": 1, "REJECTED": 3})]
    assert by_name(customers)[""].reported == {"VIEWED": 3, "REJECTED": 3}
