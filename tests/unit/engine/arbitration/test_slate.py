import math
from collections import Counter

import pytest

from services.engine.arbitration.candidates import NOTHING
from services.engine.arbitration.draw import draw_of
from services.engine.playbook.schema.head import Epsilon, SlateLimits, Softmax
from tests.unit.engine.arbitration.slow_slates import World, actions, candidate, fill, places

SOFTMAX = Softmax(method="softmax", temperature=1.0)
HALF = Epsilon(method="epsilon", epsilon=0.5)


def scored(action_id, priority, **others):
    """Make a candidate of that priority, in currency units."""
    return candidate(action_id, propensity=1.0, value=priority, **others)


def slate(candidates, **others):
    return fill(World(candidates=candidates, **others))


def units(amount):
    return round(amount * 1_000_000)


def test_the_greatest_priority_comes_first():
    candidates = [scored("a", 1), scored("b", 9), scored("c", 5)]
    assert actions(slate(candidates)) == ["b", "c", "a"]


def test_no_candidates_give_an_empty_slate():
    found = slate([])
    assert (found.ranked, found.beaten, found.rank_one, found.probability) == ((), None, {NOTHING: 1.0}, 1.0)


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="limit must not be negative"):
        slate([], limit=-1)


@pytest.mark.parametrize("action_class", ["standard", "mandatory", "default"])
def test_a_limit_of_zero_leaves_the_slate_empty(action_class):
    found = slate([scored("a", 1, action_class=action_class)], limit=0)
    assert (found.ranked, found.rank_one) == ((), {NOTHING: 1.0})


@pytest.mark.parametrize("action_class", ["standard", "transactional", "mandatory"])
def test_an_action_is_ranked_once_by_its_best_treatment(action_class):
    shared = {"action_class": action_class}
    candidates = [
        candidate("a", "x", cost=1, **shared),
        candidate("a", "y", cost=0.5, **shared),
        candidate("b", "z", cost=0.7, **shared),
    ]
    assert places(slate(candidates)) == [("a", "y"), ("b", "z")]


def test_ties_fall_to_the_smaller_action_then_treatment():
    candidates = [candidate("b", "x"), candidate("a", "y"), candidate("a", "x"), candidate("B", "x")]
    assert places(slate(candidates)) == [("B", "x"), ("a", "x"), ("b", "x")]


def test_doing_nothing_is_a_candidate_that_ties_by_its_name():
    tied = [scored(name, 2) for name in ("do_nothinf", "do_nothing2", "zero", "a")]
    assert actions(slate(tied, threshold_micros=units(2))) == ["a", "do_nothinf"]


def test_a_zero_of_either_sign_is_the_same_priority():
    negative = candidate("b", propensity=0.0, value=-5)
    assert actions(slate([negative, candidate("a", propensity=0.0)])) == ["a", "b"]


@pytest.mark.parametrize("threshold", [0, -1, 1])
def test_doing_nothing_ends_the_slate_at_the_threshold_whatever_its_sign(threshold):
    values = (("e", -2), ("f", -0.5), ("g", 0.5), ("h", 2))
    found = slate([scored(*one) for one in values], threshold_micros=units(threshold))
    assert actions(found) == [name for name, value in reversed(values) if value > threshold]
    assert found.beaten.action_id == next(name for name, value in reversed(values) if value <= threshold)
    assert not found.ended_by_draw


def test_a_slate_ended_by_its_limit_was_beaten_by_nothing():
    found = slate([scored("a", 2), scored("b", 1)], limit=1)
    assert (actions(found), found.beaten, found.end_probability) == (["a"], None, 1.0)


def test_mandatory_actions_come_first_by_priority_and_doing_nothing_never_beats_them():
    candidates = [
        scored("offer", 100),
        scored("law", -5, action_class="mandatory"),
        candidate("recall", propensity=None, action_class="mandatory"),
        scored("bill", 3, action_class="mandatory"),
    ]
    found = slate(candidates, threshold_micros=units(1), exploration=SOFTMAX)
    assert actions(found)[:3] == ["bill", "law", "recall"]
    assert [one.selection_probability for one in found.ranked[:3]] == [1.0, 1.0, 1.0]


def test_the_limit_cuts_mandatory_actions_too():
    candidates = [scored(name, 1, action_class="mandatory") for name in "abc"]
    assert actions(slate(candidates, limit=2)) == ["a", "b"]


def test_rank_one_is_about_what_comes_after_mandatory_actions():
    candidates = [scored("law", 0, action_class="mandatory"), scored("a", 2), scored("b", 1)]
    found = slate(candidates, exploration=HALF)
    assert found.rank_one == pytest.approx({("a", "t"): 2 / 3, ("b", "t"): 1 / 6, NOTHING: 1 / 6})


def test_without_a_propensity_a_candidate_comes_last_and_is_not_compared_with_doing_nothing():
    candidates = [
        candidate("a", propensity=None, action_class="transactional"),
        scored("b", 1),
        scored("c", -1),
        candidate("d", propensity=None, action_class="transactional"),
    ]
    found = slate(candidates, exploration=HALF)
    assert actions(found) == ["b", "a", "d"]
    assert [one.selection_probability for one in found.ranked] == pytest.approx([2 / 3, 3 / 4, 1.0])
    assert (found.beaten.action_id, found.end_probability) == ("c", 1.0)
    assert found.rank_one == pytest.approx(
        {("b", "t"): 2 / 3, ("c", "t"): 1 / 6, ("a", "t"): 1 / 6, NOTHING: 0}
    )


def test_candidates_without_a_propensity_respect_the_limits_of_the_slate():
    candidates = [candidate(name, propensity=None, action_class="transactional") for name in "ab"]
    assert actions(slate(candidates, limits=SlateLimits(most_per_group=1))) == ["a"]


def test_of_the_class_default_the_best_is_taken_where_nothing_else_is_left():
    tips = [
        scored("tip", -3, action_class="default"),
        scored("hint", -1, action_class="default"),
        candidate("a", propensity=None, action_class="default"),
    ]
    assert actions(slate([*tips, scored("offer", 1)])) == ["offer"]
    assert actions(slate([*tips, scored("law", 1, action_class="mandatory")])) == ["law"]
    assert actions(slate([*tips, candidate("u", propensity=None, action_class="transactional")])) == ["u"]
    found = slate([*tips, scored("offer", -1)])
    assert (actions(found), found.beaten.action_id) == (["hint"], "offer")


def test_a_default_action_has_the_probability_of_doing_nothing():
    candidates = [scored("tip", 5, action_class="default"), scored("offer", 0)]
    world = World(candidates=candidates, exploration=SOFTMAX)
    offered, tipped = fill(world, lambda rank: 0.25), fill(world, lambda rank: 0.75)
    assert (actions(offered), actions(tipped)) == (["offer"], ["tip"])
    assert offered.rank_one == tipped.rank_one == {("offer", "t"): 0.5, ("tip", "t"): 0.5, NOTHING: 0.0}
    assert tipped.probability == tipped.ranked[0].selection_probability == 0.5


def test_limits_keep_groups_and_channels_apart():
    candidates = [
        scored("a", 9, group="g", channel="email"),
        scored("b", 8, group="g", channel="sms"),
        scored("c", 7, group="h", channel="email"),
        scored("d", 6, group="h", channel="sms"),
    ]
    assert actions(slate(candidates, limits=SlateLimits(most_per_group=1))) == ["a", "c"]
    assert actions(slate(candidates, limits=SlateLimits(most_per_channel=1))) == ["a", "b"]
    assert actions(slate(candidates, limits=SlateLimits(most_per_group=1, most_per_channel=1))) == ["a", "d"]


def test_a_full_channel_leaves_an_action_its_other_treatments():
    candidates = [
        scored("a", 9),
        scored("b", 8, treatment_id="mail"),
        scored("b", 7, treatment_id="text", channel="sms"),
    ]
    found = slate(candidates, limits=SlateLimits(most_per_channel=1))
    assert places(found) == [("a", "t"), ("b", "text")]


def test_mandatory_actions_count_towards_the_limits_but_are_not_cut():
    candidates = [*(scored(name, 1, action_class="mandatory") for name in "ab"), scored("c", 9)]
    assert actions(slate(candidates, limits=SlateLimits(most_per_group=1))) == ["a", "b"]


def test_a_bundle_follows_its_first_member_whatever_the_limits_and_doing_nothing():
    candidates = [scored("tv", 9), scored("radio", 8), scored("mount", -2), scored("cable", -1)]
    found = slate(candidates, bundles={"set": ("tv", "mount", "cable")}, limits=SlateLimits(most_per_group=1))
    assert actions(found) == ["tv", "cable", "mount"]
    assert [one.bundle for one in found.ranked] == ["", "set", "set"]


def test_the_members_that_follow_are_drawn_among_themselves():
    candidates = [scored("a", 9), scored("b", 0), scored("c", 0), scored("d", 0)]
    found = slate(candidates, bundles={"set": ("a", "b", "c")}, exploration=HALF, limit=2)
    assert found.ranked[1].bundle == "set"
    assert found.ranked[1].selection_probability == pytest.approx(0.75)


def test_the_limit_cuts_a_bundle():
    found = slate([scored("a", 9), scored("b", 1)], bundles={"set": ("a", "b")}, limit=1)
    assert actions(found) == ["a"]


def test_a_bundle_that_a_mandatory_action_begins_follows_after_the_last_of_these():
    candidates = [
        scored("law", 2, action_class="mandatory"),
        scored("recall", 1, action_class="mandatory"),
        scored("offer", 9),
        scored("form", -9),
    ]
    found = slate(candidates, bundles={"legal": ("form", "law")})
    assert actions(found) == ["law", "recall", "form", "offer"]
    assert found.rank_one == {("form", "t"): 1.0, NOTHING: 0.0}


def test_members_without_a_propensity_follow_last_in_their_bundle():
    unknown = {"propensity": None, "action_class": "transactional"}
    candidates = [scored("a", 9), candidate("b", **unknown), scored("c", -1), scored("d", 1)]
    assert actions(slate(candidates, bundles={"set": ("a", "b", "c")})) == ["a", "c", "b", "d"]


LAST = (("weekly", 1),)


def test_two_actions_of_one_answer_do_not_use_the_same_last_slot():
    candidates = [scored("a", 3, slots=LAST), scored("b", 2, slots=LAST), scored("c", 1)]
    assert actions(slate(candidates)) == ["a", "c"]
    assert actions(slate([scored(name, 1, slots=(("weekly", 2),)) for name in "abc"])) == ["a", "b"]
    assert actions(slate([scored("a", 2, slots=LAST), scored("b", 1, slots=(("daily", 1),))])) == ["a", "b"]


def test_a_treatment_without_a_slot_leaves_an_action_its_others():
    candidates = [
        scored("a", 3, slots=LAST),
        candidate("b", "x", propensity=1.0, value=2, slots=LAST),
        candidate("b", "y", propensity=1.0, value=1),
    ]
    assert places(slate(candidates)) == [("a", "t"), ("b", "y")]


def test_slots_bind_mandatory_actions_too():
    shared = {"action_class": "mandatory", "propensity": 1.0, "slots": LAST}
    candidates = [candidate("a", value=3, **shared), candidate("b", "x", value=2, **shared)]
    candidates.append(candidate("b", "y", value=1, **(shared | {"slots": ()})))
    candidates.append(candidate("c", value=9, **(shared | {"action_class": "standard"})))
    assert places(slate(candidates)) == [("a", "t"), ("b", "y")]


def test_slots_bind_the_members_of_a_bundle_too():
    candidates = [scored("a", 9, slots=LAST), scored("b", 2, slots=LAST), scored("c", 5), scored("d", 1)]
    assert actions(slate(candidates, bundles={"x": ["a", "b", "d"]})) == ["a", "d", "c"]
    assert actions(slate(candidates[:2], bundles={"x": ["a", "b"]})) == ["a"]


def test_slots_bind_what_has_no_propensity():
    unscored = [candidate(name, propensity=None, slots=LAST) for name in "ab"]
    assert actions(slate([*unscored, candidate("c", propensity=None)])) == ["a", "c"]
    followers = [scored("a", 1, slots=LAST), candidate("b", propensity=None, slots=LAST)]
    assert actions(slate(followers, bundles={"x": ["a", "b"]})) == ["a"]


@pytest.mark.parametrize("propensity", [1.0, None])
@pytest.mark.parametrize("action_class", ["standard", "transactional", "mandatory", "default"])
def test_what_has_no_slot_left_is_in_no_answer(action_class, propensity):
    one = candidate("a", propensity=propensity, action_class=action_class, slots=(("weekly", 0),))
    assert actions(slate([one])) == []


def test_the_chances_of_a_rank_are_those_of_what_still_has_a_slot():
    candidates = [scored("a", 9, slots=LAST), scored("b", 1, slots=LAST), scored("c", 1)]
    even = World(candidates=candidates, exploration=Epsilon(method="epsilon", epsilon=1.0), limit=2)
    found = fill(even, draw=lambda rank: 0.1)
    assert found.rank_one == dict.fromkeys([("a", "t"), ("b", "t"), ("c", "t"), NOTHING], 0.25)
    assert places(found) == [("a", "t"), ("c", "t")]
    assert found.ranked[1].selection_probability == 0.5


def test_softmax_is_in_proportion_to_the_exponential_of_the_priority():
    cool = Softmax(method="softmax", temperature=2.0)
    found = slate([scored("a", 4), scored("b", 2)], exploration=cool, threshold_micros=units(1))
    weights = {("a", "t"): math.exp(2), ("b", "t"): math.exp(1), NOTHING: math.exp(0.5)}
    total = sum(weights.values())
    assert found.rank_one == pytest.approx({place: weight / total for place, weight in weights.items()})


def test_softmax_bears_any_priority_and_temperature():
    freezing = Softmax(method="softmax", temperature=1e-300)
    found = slate([scored("a", 10**9), scored("b", -(10**9))], exploration=freezing)
    assert (actions(found)[:1], found.rank_one[("a", "t")]) == (["a"], 1.0)


def test_epsilon_shares_its_part_and_leaves_the_best_the_rest():
    found = slate([scored("a", 2), scored("b", 1), scored("c", 3)], exploration=HALF)
    expected = {("a", "t"): 1 / 8, ("b", "t"): 1 / 8, ("c", "t"): 5 / 8, NOTHING: 1 / 8}
    assert found.rank_one == pytest.approx(expected)


def test_what_the_draw_preferred_to_the_best_is_marked():
    world = World(candidates=[scored("a", 2), scored("b", 1)], exploration=HALF)
    first = {point: fill(world, lambda rank, point=point: point) for point in (0.1, 0.7, 0.9)}
    assert [(actions(one)[:1], one.ranked[0].explored) for one in first.values() if one.ranked] == [
        (["a"], False),
        (["b"], True),
    ]
    nothing = first[0.9]
    assert (nothing.ranked, nothing.ended_by_draw, nothing.beaten.action_id) == ((), True, "a")
    assert nothing.probability == nothing.end_probability == pytest.approx(1 / 6)


def test_in_the_arm_random_eligible_everything_is_equally_likely_without_exploration_too():
    candidates = [scored("a", 9), scored("b", 1), scored("c", -5)]
    found = slate(candidates, arm="random_eligible")
    assert found.rank_one == pytest.approx(
        dict.fromkeys([*(one.place for one in candidates), NOTHING], 1 / 4)
    )


def test_in_the_arm_no_levers_only_the_lever_is_gone():
    candidates = [scored("a", 1, lever=9.0), scored("b", 2, lever=0.0), scored("c", 1, weight=3.0)]
    assert actions(slate(candidates)) == ["a", "c", "b"]
    found = slate(candidates, arm="no_levers")
    assert [(one.candidate.action_id, one.priority) for one in found.ranked] == [("c", 3), ("b", 2), ("a", 1)]


def test_in_the_arm_propensity_only_nothing_else_counts_and_doing_nothing_is_zero():
    candidates = [
        candidate("a", propensity=0.2, value=100),
        candidate("b", propensity=0.9, value=1, cost=5, lever=0.0),
        candidate("zero", propensity=0.0, value=1),
    ]
    found = slate(candidates, arm="propensity_only", threshold_micros=units(5))
    assert [(one.candidate.action_id, one.priority) for one in found.ranked] == [("b", 0.9), ("a", 0.2)]
    assert found.beaten.action_id == "zero"


@pytest.mark.parametrize("arm", ["eligibility_only", "hold_out"])
def test_other_arms_leave_arbitration_as_it_is(arm):
    candidates = [scored("a", 1, lever=9.0), scored("b", 2, lever=0.0)]
    assert slate(candidates, arm=arm) == slate(candidates)


@pytest.mark.parametrize("arm", ["random_eligible", "no_levers", "propensity_only"])
def test_a_transactional_action_keeps_its_rank_one_in_every_arm(arm):
    candidates = [
        candidate("notice", propensity=0.01, value=900, lever=1.0, action_class="transactional"),
        candidate("offer", propensity=0.9, value=100, lever=0.05),
    ]
    found = slate(candidates, arm=arm, limit=1)
    assert (actions(found), found.rank_one) == (["notice"], {("notice", "t"): 1.0, NOTHING: 0.0})


def test_where_a_lot_falls_on_doing_nothing_a_transactional_action_steps_in():
    candidates = [scored("notice", 1, action_class="transactional"), scored("offer", 9), scored("other", 8)]
    found = slate(candidates, arm="random_eligible")
    assert found.rank_one == pytest.approx(
        dict.fromkeys([one.place for one in candidates], 1 / 3) | {NOTHING: 0}
    )
    unworthy = [scored("notice", -1, action_class="transactional"), *candidates[1:]]
    rank_one = slate(unworthy, arm="random_eligible").rank_one
    assert rank_one == pytest.approx(dict.fromkeys([*(one.place for one in candidates[1:]), NOTHING], 1 / 3))


def test_where_an_arm_prefers_doing_nothing_to_what_was_better_a_transactional_action_steps_in():
    candidates = [scored("notice", 2, action_class="transactional"), scored("offer", 1, lever=9.0)]
    assert actions(slate(candidates, threshold_micros=units(1))) == ["offer", "notice"]
    assert actions(slate(candidates, threshold_micros=units(1), arm="no_levers")) == ["notice"]


def test_a_transactional_action_is_held_to_the_threshold_where_others_are_not():
    offer = candidate("offer", propensity=0.1)
    world = {"arm": "propensity_only", "threshold_micros": units(2)}
    notices = [scored("notice", worth, action_class="transactional") for worth in (1, 3)]
    assert [actions(slate([notice, offer], **world)) for notice in notices] == [
        ["offer"],
        ["notice", "offer"],
    ]


def test_the_chances_in_an_arm_are_those_of_its_three_steps():
    candidates = [scored("notice", 1, action_class="transactional"), candidate("offer", propensity=0.1)]
    found = slate(candidates, arm="propensity_only", threshold_micros=units(2), exploration=HALF)
    without = {"notice": 1 / 6, "offer": 1 / 6, "nothing": 2 / 3}
    assert found.rank_one == pytest.approx(
        {
            ("notice", "t"): without["notice"] + without["offer"] * 1 / 4 * 1 / 4,
            ("offer", "t"): (without["offer"] + without["nothing"]) * 3 / 4,
            NOTHING: without["nothing"] * 1 / 4 + without["offer"] * 1 / 4 * 3 / 4,
        }
    )


def test_a_probability_of_a_slate_is_the_product_of_its_ranks_and_its_end():
    world = World(candidates=[scored("a", 2), scored("b", 1)], exploration=HALF)
    found = fill(world, lambda rank: (0.1, 0.999)[rank - 1])
    assert actions(found) == ["a"]
    assert found.probability == pytest.approx(2 / 3 * 1 / 4)


EXPLORING = World(
    candidates=[
        scored("a", 1.0, treatment_id="x"),
        scored("a", 0.5, treatment_id="y", channel="sms"),
        scored("b", 0.8, group="h"),
        scored("c", 0.2, group="h", channel="sms"),
        scored("notice", 0.3, action_class="transactional", group="n", channel="push"),
    ],
    threshold_micros=units(0.4),
    limit=2,
    limits=SlateLimits(most_per_group=1, most_per_channel=1),
    exploration=Softmax(method="softmax", temperature=0.7),
)


@pytest.mark.parametrize("arm", ["", "random_eligible", "no_levers", "propensity_only"])
@pytest.mark.parametrize("exploration", [SOFTMAX, Epsilon(method="epsilon", epsilon=0.6)])
def test_over_many_decisions_slates_come_as_often_as_their_logged_probabilities_say(arm, exploration):
    world = World(**{**vars(EXPLORING), "arm": arm, "exploration": exploration})
    decisions = 4_000
    found = [fill(world, draw_of(f"decision-{number}")) for number in range(decisions)]
    probabilities = {tuple(places(one)): one.probability for one in found}
    assert is_likely(Counter(tuple(places(one)) for one in found), probabilities, decisions)
    first = Counter(places(one)[0] if one.ranked else NOTHING for one in found)
    assert is_likely(first, {place: p for place, p in found[0].rank_one.items() if p}, decisions)


def is_likely(counts, probabilities, total):
    """Tell whether chi-square lies below its 99.9th percentile (Wilson and Hilferty)."""
    assert math.fsum(probabilities.values()) == pytest.approx(1.0, abs=5 / total)
    chi_square = sum((counts[what] - total * p) ** 2 / (total * p) for what, p in probabilities.items())
    freedom = len(probabilities) - 1
    return chi_square < freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
