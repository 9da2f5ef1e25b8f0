import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.engine.arbitration.nearest import NearestChange, nearest_change
from tests.unit.engine.arbitration.slow_slates import World, candidate, fill

IMPOSSIBLE = NearestChange(lever=None, value_micros=None)


def units(amount):
    return round(amount * 1_000_000)


def first(threshold_micros, *candidates):
    found = fill(World(candidates=candidates, threshold_micros=threshold_micros, limit=1))
    return found.ranked[0].candidate.action_id if found.ranked else "do_nothing"


def changed(one, lever=1.0, value_micros=None):
    value_micros = one.value_micros if value_micros is None else value_micros
    return replace(one, lever=one.lever * lever, value_micros=value_micros)


AMOUNTS = st.sampled_from([0, 1, 250_000, 4_000_000]) | st.integers(-(10**9), 10**9)
FACTORS = st.sampled_from([0.0, 0.5, 1.0, 3.0]) | st.floats(0, 1e3)
PROPENSITIES = st.sampled_from([0.0, 0.1, 0.5, 1.0]) | st.floats(0, 1)


@st.composite
def candidates(draw, action_id):
    return replace(
        candidate(action_id, propensity=draw(PROPENSITIES)),
        value_micros=draw(AMOUNTS),
        cost_micros=draw(AMOUNTS),
        measures_micros=draw(AMOUNTS),
        lever=draw(FACTORS),
        weight=draw(FACTORS),
    )


@settings(max_examples=300)
@given(candidates("a"), candidates("z"), st.none() | st.just("both"), AMOUNTS)
def test_the_change_makes_the_runner_up_win_and_a_lesser_one_does_not(one, other, both, threshold):
    field = [one, other] if both else [one]
    best = first(threshold, *field)
    winner = next((it for it in field if it.action_id == best), None)
    [runner_up] = [it for it in field if it is not winner][:1] or [None]
    assume(runner_up is not None)
    change = nearest_change(winner, runner_up, threshold)

    def wins(**what):
        others = [it for it in field if it is not runner_up]
        return first(threshold, changed(runner_up, **what), *others) == runner_up.action_id

    if change.lever is not None:
        assert wins(lever=change.lever)
        assert not wins(lever=math.nextafter(change.lever, 1.0))
    if change.value_micros is not None:
        assert change.value_micros > runner_up.value_micros
        assert wins(value_micros=change.value_micros)
        assert not wins(value_micros=change.value_micros - 1)
    else:
        assert not wins(value_micros=10**15)
    if change.lever is None:
        assert not any(wins(lever=factor) for factor in (0.0, 0.5, 2.0, 1e3, 1e12))


def test_a_tie_needs_more_for_the_greater_id():
    winner = candidate("m", propensity=0.5, value=8)
    value = {name: nearest_change(winner, candidate(name, value=4), 0).value_micros for name in "az"}
    assert value == {"a": units(8), "z": units(8) + 1}
    lever = {name: nearest_change(winner, candidate(name, value=4), 0).lever for name in "az"}
    assert lever == {"a": 2.0, "z": math.nextafter(2.0, 3.0)}


def test_doing_nothing_is_beaten_at_the_threshold():
    assert nearest_change(None, candidate("a", value=4, cost=1), units(2)) == NearestChange(
        lever=1.5, value_micros=units(6)
    )


def test_a_worse_than_worthless_action_needs_less_of_its_lever():
    change = nearest_change(None, candidate("a", propensity=1.0, value=-4, lever=2.0), units(-2))
    assert change == NearestChange(lever=0.25, value_micros=units(-1))


@pytest.mark.parametrize("zero", [{"propensity": 0.0}, {"weight": 0.0}])
def test_no_change_helps_where_lever_and_value_do_not_matter(zero):
    assert nearest_change(None, candidate("a", **{"cost": 1, **zero}), 0) == IMPOSSIBLE


def test_a_veto_and_a_worthless_action_can_be_helped_by_neither_and_by_a_value():
    assert nearest_change(None, candidate("a", cost=1, lever=0.0), 0) == IMPOSSIBLE
    assert nearest_change(None, candidate("a", value=0, cost=1), 0) == NearestChange(
        lever=None, value_micros=units(2)
    )


def test_a_value_that_no_playbook_may_name_is_no_change():
    needed = candidate("a", propensity=1e-9, value=1, cost=2)
    assert nearest_change(None, needed, 0).value_micros is None
    assert nearest_change(None, needed, 0).lever == pytest.approx(2e9)


@pytest.mark.parametrize("winner", [{"propensity": None}, {"action_class": "default"}])
def test_what_stood_where_doing_nothing_would_is_beaten_by_beating_that(winner):
    runner_up = candidate("z", value=4, cost=3)
    expected = nearest_change(None, runner_up, 0)
    assert nearest_change(candidate("a", **winner), runner_up, 0) == expected


def test_nothing_helps_out_of_turn():
    mandatory, default = candidate("m", action_class="mandatory"), candidate("d", action_class="default")
    assert nearest_change(mandatory, candidate("z", value=1), 0) == IMPOSSIBLE
    assert nearest_change(candidate("a"), default, 0) == IMPOSSIBLE
    assert nearest_change(None, default, 0) == IMPOSSIBLE
    assert nearest_change(None, candidate("z", propensity=None), 0) == IMPOSSIBLE


@pytest.mark.parametrize("action_class", ["mandatory", "default"])
def test_among_themselves_mandatory_and_default_actions_are_not_compared_with_doing_nothing(action_class):
    winner, runner_up = (
        candidate(name, propensity=1.0, value=value, action_class=action_class)
        for name, value in (("z", 2), ("a", 1))
    )
    assert nearest_change(winner, runner_up, units(9)) == NearestChange(lever=2.0, value_micros=units(2))


def test_who_wins_already_needs_no_change():
    winner, other = candidate("a", value=9), candidate("z", value=4)
    assert nearest_change(other, winner, 0) == NearestChange(lever=1.0, value_micros=winner.value_micros)
