import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.arbitration.candidates import NOTHING
from services.engine.arbitration.draw import draw_of
from services.engine.playbook.schema.head import SlateLimits, Softmax
from tests.unit.engine.arbitration.slow_slates import (
    ARMS,
    beaten,
    certain,
    explored,
    fill,
    paths,
    place,
    places,
    steps,
    worlds,
)

ALMOST_NEVER = 1e-9
"""Steps less probable than this may fall to rounding."""


def near(value):
    return pytest.approx(value, rel=1e-9, abs=1e-15)


def drawn_along(world, path):
    """Fill the slate with draws in the middle of what each step of the path stands for."""
    points = [step.point for step in path]
    return fill(world, draw=lambda rank: points[rank - 1])


@pytest.mark.parametrize("arm", ARMS)
@settings(max_examples=60)
@given(world=worlds())
def test_each_slate_comes_out_at_its_draws_with_its_probabilities(arm, world):
    world = replace(world, arm=arm)
    for path in paths(world):
        if any(step.probability < ALMOST_NEVER for step in path):
            continue
        found = drawn_along(world, path)
        ranks = [step for step in path if step.outcome is not None]
        assert [(one.candidate, one.bundle) for one in found.ranked] == [
            (step.outcome, step.bundle) for step in ranks
        ]
        probabilities = [one.selection_probability for one in found.ranked]
        assert probabilities == near([step.probability for step in ranks])
        assert found.probability == near(math.prod(step.probability for step in path))
        assert [one.explored for one in found.ranked] == [
            explored(world, path, rank) for rank in range(len(ranks))
        ]
        assert found.beaten == beaten(world, path)
        assert found.ended_by_draw == any(
            step.after_nothing and explored(world, path, rank) for rank, step in enumerate(path)
        )


@settings(max_examples=100)
@given(worlds())
def test_the_probabilities_of_all_slates_sum_to_one(world):
    found = [drawn_along(world, path) for path in paths(world)]
    distinct = {tuple(places(slate)): slate.probability for slate in found}
    assert math.fsum(distinct.values()) == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=100)
@given(worlds(), st.uuids())
def test_rank_one_is_the_whole_distribution_of_the_first_open_rank(world, decision_id):
    mandatory = certain(world)
    expected = {NOTHING: 0.0 if len(mandatory) < world.limit else 1.0}
    if len(mandatory) < world.limit:
        expected |= {place(step.outcome): step.probability for step in steps(world, mandatory)[0]}
    found = fill(world, draw_of(str(decision_id)))
    assert dict(found.rank_one) == near(expected)
    assert abs(math.fsum(found.rank_one.values()) - 1.0) <= 1e-12
    open_ranks = found.ranked[len(mandatory) :]
    assert [one.selection_probability for one in open_ranks[:1]] == [
        found.rank_one[one.candidate.place] for one in open_ranks[:1]
    ]


@settings(max_examples=100)
@given(worlds(), st.randoms(use_true_random=False), st.uuids())
def test_the_order_of_candidates_and_bundles_does_not_matter(world, random, decision_id):
    candidates, bundles = list(world.candidates), list(world.bundles.items())
    random.shuffle(candidates)
    random.shuffle(bundles)
    other = replace(world, candidates=candidates, bundles=dict(bundles))
    assert fill(other, draw_of(str(decision_id))) == fill(world, draw_of(str(decision_id)))


@settings(max_examples=100)
@given(worlds(), st.uuids())
def test_a_smaller_limit_is_a_prefix(world, decision_id):
    draw = draw_of(str(decision_id))
    long, short = fill(replace(world, limit=9), draw), fill(world, draw)
    assert short.ranked == long.ranked[: world.limit]


@settings(max_examples=100)
@given(worlds(), st.uuids())
def test_only_the_first_of_a_bundle_and_none_but_mandatory_exceed_the_limits(world, decision_id):
    found = fill(world, draw_of(str(decision_id)))
    most = ((world.limits.most_per_group, "group"), (world.limits.most_per_channel, "channel"))
    for index, one in enumerate(found.ranked):
        if one.bundle or one.candidate.action_class in ("mandatory", "default"):
            continue
        for count, name in most:
            same = [
                other
                for other in found.ranked[: index + 1]
                if getattr(other.candidate, name) == getattr(one.candidate, name)
            ]
            assert count is None or len(same) <= count
    chosen = [one.candidate.action_id for one in found.ranked]
    assert len(chosen) == len(set(chosen)) <= world.limit


@settings(max_examples=200)
@given(worlds(), st.uuids())
def test_no_slate_takes_more_slots_than_are_left_whoever_takes_them(world, decision_id):
    found = fill(replace(world, limit=9), draw_of(str(decision_id)))
    left = {key: most for one in world.candidates for key, most in one.slots}
    for key, most in left.items():
        assert sum(key in dict(one.candidate.slots) for one in found.ranked) <= most


@settings(max_examples=200)
@given(worlds(), st.uuids())
def test_slots_that_suffice_for_all_change_nothing(world, decision_id):
    def with_slots(candidates, most):
        return [replace(one, slots=tuple((key, most) for key, _ in one.slots)) for one in candidates]

    draw = draw_of(str(decision_id))
    ample = fill(replace(world, candidates=with_slots(world.candidates, 4)), draw)
    unlimited = fill(replace(world, candidates=[replace(one, slots=()) for one in world.candidates]), draw)
    assert places(ample) == places(unlimited)
    assert dict(ample.rank_one) == dict(unlimited.rank_one)


@settings(max_examples=100)
@given(worlds(explorations=[None], arms=("", "no_levers", "propensity_only", "hold_out")), st.uuids())
def test_a_cold_softmax_is_no_exploration(world, decision_id):
    plain = {"value_micros": 10**6, "cost_micros": 0, "extra_cost_micros": 0, "measures_micros": 0}
    plain |= {"weight": 1.0, "lever": 1.0}
    distinct = [
        replace(one, propensity=None if one.propensity is None else index / 16, **plain)
        for index, one in enumerate(world.candidates, start=1)
    ]
    world = replace(world, candidates=distinct, threshold_micros=10**6 // 32)
    cold = replace(world, exploration=Softmax(method="softmax", temperature=1e-6))
    assert fill(cold, draw_of(str(decision_id))) == fill(world)


@settings(max_examples=100)
@given(worlds(arms=("",)), st.sampled_from(ARMS))
def test_no_arm_makes_a_transactional_action_less_likely_to_come_next(world, arm):
    world = replace(world, limit=9)
    without, within = fill(world).rank_one, fill(replace(world, arm=arm)).rank_one
    for one in world.candidates:
        if one.action_class == "transactional" and one.propensity is not None:
            assert within.get(one.place, 0.0) >= without.get(one.place, 0.0) - 1e-12


@settings(max_examples=100)
@given(worlds(explorations=[None]), st.uuids())
def test_no_arm_takes_a_transactional_or_mandatory_action_out(world, decision_id):
    unlimited = [replace(one, slots=()) for one in world.candidates]
    world = replace(world, candidates=unlimited, limit=9, bundles={}, limits=SlateLimits())
    without = fill(replace(world, arm=""))
    within = fill(world, draw_of(str(decision_id)))

    def exempt(slate):
        return [
            (one.candidate, one.priority)
            for one in slate.ranked
            if one.candidate.action_class in ("mandatory", "transactional")
        ]

    assert exempt(within) == exempt(without)
