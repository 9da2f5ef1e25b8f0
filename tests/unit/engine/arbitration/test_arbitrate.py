from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.arbitration.arbitrate import Candidate, arbitrate


def candidate(action_id="a", treatment_id="t", propensity=0.5, value=10, cost=0, mandatory=False):
    """Make a candidate; amounts are in currency units."""
    return Candidate(
        action_id=action_id,
        treatment_id=treatment_id,
        mandatory=mandatory,
        propensity=propensity,
        value_micros=round(value * 1_000_000),
        cost_micros=round(cost * 1_000_000),
    )


def ranked(candidates, threshold=0.0, limit=10):
    slate = arbitrate(candidates, round(threshold * 1_000_000), limit)
    return [(chosen.action_id, chosen.treatment_id) for chosen in slate.ranked]


def test_the_greatest_priority_comes_first():
    candidates = [
        candidate("a", propensity=0.1),
        candidate("b", propensity=0.9),
        candidate("c", propensity=0.5),
    ]
    assert ranked(candidates) == [("b", "t"), ("c", "t"), ("a", "t")]


def test_cost_is_subtracted_and_value_weighed():
    assert candidate(propensity=0.25, value=8, cost=0.5).priority == 1.5
    assert candidate(propensity=None).priority is None
    assert ranked([candidate("a", value=10, cost=4), candidate("b", value=4)]) == [("b", "t"), ("a", "t")]


def test_no_candidates_give_an_empty_slate():
    slate = arbitrate([], 0, 3)
    assert (slate.ranked, slate.beaten) == ((), None)


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="limit must not be negative"):
        arbitrate([], 0, -1)


def test_the_limit_keeps_the_best():
    candidates = [candidate(name, propensity=p) for name, p in (("a", 0.1), ("b", 0.9), ("c", 0.5))]
    assert [ranked(candidates, limit=limit) for limit in range(4)] == [
        [],
        [("b", "t")],
        [("b", "t"), ("c", "t")],
        [("b", "t"), ("c", "t"), ("a", "t")],
    ]


def test_an_action_is_ranked_once_by_its_best_treatment():
    candidates = [candidate("a", "x", cost=1), candidate("a", "y", cost=0.5), candidate("b", "z", cost=0.7)]
    assert ranked(candidates) == [("a", "y"), ("b", "z")]


def test_ties_fall_to_the_smaller_action_then_treatment():
    candidates = [candidate("b", "x"), candidate("a", "y"), candidate("a", "x"), candidate("B", "x")]
    assert ranked(candidates) == [("B", "x"), ("a", "x"), ("b", "x")]


def test_doing_nothing_beats_what_is_worth_less_than_the_threshold():
    slate = arbitrate(
        [candidate("a", value=3), candidate("b", value=5), candidate("z", value=1)], 2_000_000, 10
    )
    assert [chosen.action_id for chosen in slate.ranked] == ["b"]
    assert slate.beaten == candidate("a", value=3)


def test_doing_nothing_is_a_candidate_that_ties_by_its_name():
    tied = [candidate(name, propensity=0.5, value=4) for name in ("do_nothinf", "do_nothing2", "zero", "a")]
    assert ranked(tied, threshold=2) == [("a", "t"), ("do_nothinf", "t")]


@pytest.mark.parametrize("threshold", [0, -1, 1])
def test_the_threshold_may_have_any_sign(threshold):
    values = (("e", -2), ("f", -0.5), ("g", 0.5), ("h", 2))
    candidates = [candidate(name, propensity=1.0, value=value) for name, value in values]
    expected = [(name, "t") for name, value in reversed(values) if value > threshold]
    assert ranked(candidates, threshold) == expected


def test_mandatory_actions_come_first_and_doing_nothing_never_beats_them():
    candidates = [
        candidate("offer", propensity=1.0, value=100),
        candidate("law", propensity=0.0, cost=5, mandatory=True),
        candidate("recall", propensity=None, mandatory=True),
        candidate("bill", propensity=0.5, mandatory=True),
    ]
    assert [action for action, _ in ranked(candidates, threshold=1)] == ["bill", "law", "recall", "offer"]


def test_without_a_propensity_a_candidate_comes_last_and_stays():
    candidates = [
        candidate("a", propensity=None),
        candidate("b", propensity=0.1),
        candidate("c", propensity=0.0, cost=1),
    ]
    slate = arbitrate(candidates, 0, 10)
    assert [chosen.action_id for chosen in slate.ranked] == ["b", "a"]
    assert slate.beaten.action_id == "c"


def test_a_zero_of_either_sign_is_the_same_priority():
    assert ranked([candidate("b", propensity=0.0, value=-5), candidate("a", propensity=0.0)]) == [
        ("a", "t"),
        ("b", "t"),
    ]


ACTIONS = ("B", "a", "b", "do_nothing-", "do_nothing2", "z")
PROPENSITIES = st.sampled_from([None, 0.0, 0.1, 0.25, 0.5, 1.0]) | st.floats(0, 1)
AMOUNTS = st.sampled_from([0, 1, 250_000, 500_000, 1_000_000, 4_000_000]) | st.integers(-(10**7), 10**7)


@st.composite
def slates(draw):
    mandatory = draw(st.sets(st.sampled_from(ACTIONS), max_size=2))
    places = draw(
        st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from("xyz")), unique=True, max_size=9)
    )
    return [
        Candidate(
            action_id=action_id,
            treatment_id=treatment_id,
            mandatory=action_id in mandatory,
            propensity=draw(PROPENSITIES),
            value_micros=draw(AMOUNTS),
            cost_micros=draw(AMOUNTS),
        )
        for action_id, treatment_id in places
    ]


def is_better(one, other):
    """Say in so many words which of two candidates stands before the other."""
    if one.mandatory != other.mandatory:
        return one.mandatory
    if (one.priority is None) != (other.priority is None):
        return other.priority is None
    if one.priority is not None and one.priority != other.priority:
        return one.priority > other.priority
    return (one.action_id, one.treatment_id) < (other.action_id, other.treatment_id)


def is_beaten(one, threshold):
    if one.mandatory or one.priority is None:
        return False
    return one.priority < threshold / 1e6 or (
        one.priority == threshold / 1e6 and one.action_id > "do_nothing"
    )


def reference(candidates, threshold, limit):
    """Pick the best that is left, again and again."""
    left, chosen, beaten = list(candidates), [], None
    while left:
        best = left[0]
        for other in left[1:]:
            best = other if is_better(other, best) else best
        left.remove(best)
        if best.action_id in [one.action_id for one in chosen]:
            continue
        if is_beaten(best, threshold):
            beaten = beaten or best
        else:
            chosen.append(best)
    return chosen[:limit], beaten


@settings(max_examples=250)
@given(slates(), st.sampled_from([0, 250_000, -1_000_000]) | AMOUNTS, st.integers(0, 8))
def test_arbitration_agrees_with_picking_the_best_again_and_again(candidates, threshold, limit):
    slate = arbitrate(candidates, threshold, limit)
    assert (list(slate.ranked), slate.beaten) == reference(candidates, threshold, limit)


@settings(max_examples=100)
@given(slates(), st.randoms(use_true_random=False), AMOUNTS)
def test_the_order_of_candidates_does_not_matter(candidates, random, threshold):
    other = list(candidates)
    random.shuffle(other)
    assert arbitrate(other, threshold, 5) == arbitrate(candidates, threshold, 5)


@settings(max_examples=100)
@given(slates(), AMOUNTS, st.integers(0, 6))
def test_a_smaller_limit_is_a_prefix(candidates, threshold, limit):
    assert (
        arbitrate(candidates, threshold, limit).ranked == arbitrate(candidates, threshold, 99).ranked[:limit]
    )


@given(st.floats(0, 1), st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15))
def test_a_priority_is_the_formula_to_float_precision(propensity, value, cost):
    one = Candidate(
        action_id="a",
        treatment_id="t",
        mandatory=False,
        propensity=propensity,
        value_micros=value,
        cost_micros=cost,
    )
    exact = (Fraction(propensity) * value - cost) / 1_000_000
    assert abs(Fraction(one.priority) - exact) <= Fraction(abs(value) + abs(cost), 10**6) / 2**51
