from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.arbitration.candidates import Candidate
from services.engine.arbitration.slate import Ranked, Slate
from services.engine.policy.engagement import Removal
from services.engine.trace import reasons as telling


def candidate(propensity=0.1, action_class="standard", value=5_000_000, cost=300_000):
    return Candidate(
        action_id="sale",
        treatment_id="mail",
        group="offers",
        channel="email",
        action_class=action_class,
        propensity=propensity,
        value_micros=value,
        cost_micros=cost,
    )


def for_action(chosen, prior=None, from_prior=False, *, explored=False, bundle="", **others):
    """Say why ``chosen`` was, without what a test does not care for."""
    ranked = Ranked(
        candidate=chosen,
        priority=chosen.priority,
        selection_probability=0.25 if explored else 1.0,
        bundle="b" if bundle else "",
        explored=explored,
    )
    plain = {"why": "", "factors": [], "moved_by": [], "arm": ""}
    return telling.for_action(
        ranked, prior=prior, from_prior=from_prior, currency="EUR", bundle=bundle, **(plain | others)
    )


def for_silence(removed, beaten=None, threshold=0, *, by_draw=False, arm=""):
    """Say why nothing was chosen, where ``beaten`` is what doing nothing beat."""
    slate = Slate(
        ranked=(),
        beaten=beaten,
        ended_by_draw=by_draw,
        end_probability=0.125 if by_draw else 1.0,
        rank_one={("do_nothing", ""): 1.0},
    )
    return telling.for_silence(removed, slate, threshold, "EUR", arm)


def named(mandatory):
    return "mandatory" if mandatory else "standard"


def codes(reasons):
    return [reason.code for reason in reasons]


@pytest.mark.parametrize(
    ("propensity", "prior", "from_prior", "mandatory", "expected"),
    [
        (0.2, 0.1, False, False, ["LIKELY", "VALUE"]),
        (0.1, 0.1, False, False, ["LIKELY", "VALUE"]),
        (0.05, 0.1, False, False, ["UNLIKELY", "VALUE"]),
        (0.2, None, False, False, ["LIKELY", "VALUE"]),
        (0.0, 0.0, False, False, ["LIKELY", "VALUE"]),
        (0.1, 0.1, True, False, ["PRIOR", "VALUE"]),
        (None, 0.1, False, False, ["DEGRADED"]),
        (None, None, False, True, ["MANDATORY"]),
        (0.2, 0.1, False, True, ["MANDATORY", "LIKELY", "VALUE"]),
        (0.2, 0.1, True, True, ["MANDATORY", "PRIOR", "VALUE"]),
    ],
)
def test_an_action_says_why_it_was_chosen(propensity, prior, from_prior, mandatory, expected):
    assert codes(for_action(candidate(propensity, named(mandatory)), prior, from_prior)) == expected


def test_reasons_are_sentences_with_numbers():
    likely, value = for_action(candidate(0.25), 0.1)
    assert (
        likely.text == "The chance of success is estimated at 25.0%, 2.5 times the usual 10.0% of this group."
    )
    assert value.text == "Success is worth 5.00 EUR; the attempt costs 0.30."
    [_, dearer] = for_action(replace(candidate(0.25), extra_cost_micros=500_000), 0.1)
    assert dearer.text == "Success is worth 5.00 EUR; the attempt costs 0.80."
    [prior, _] = for_action(candidate(0.1), 0.1, True)
    assert prior.text == "The usual chance in this group is 10.0%; no score for this customer was to be had."
    [unknown, _] = for_action(candidate(0.25), None)
    assert unknown.text == "The chance of success is estimated at 25.0%."


@given(
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0, 1),
    st.booleans(),
    st.booleans(),
    st.integers(-(10**15), 10**15),
)
def test_every_action_has_reasons(propensity, prior, from_prior, mandatory, value):
    reasons = for_action(candidate(propensity, named(mandatory), value), prior, from_prior)
    assert reasons
    assert all(reason.text.endswith(".") for reason in reasons)


def removal(stage, text="Why."):
    return Removal(stage=stage, rule="r", text=text)


def test_silence_without_any_candidate_says_so():
    assert codes(for_silence([], None, 0)) == ["NO_CANDIDATE"]


@pytest.mark.parametrize(
    ("stage", "code"),
    [
        ("consent", "NO_CONSENT"),
        ("eligibility", "NOT_ELIGIBLE"),
        ("applicability", "NOT_ELIGIBLE"),
        ("suitability", "NOT_ELIGIBLE"),
        ("suppression", "SUPPRESSED"),
        ("stop", "POINTLESS"),
        ("contact", "CONTACT_POLICY"),
        ("place", "NOT_POSSIBLE"),
        ("content", "NOT_POSSIBLE"),
        ("arm", "CONTROL_ARM"),
        ("arbitration", "UNLIKELY_ALL"),
        ("veto", "VETOED"),
        ("score", "DEGRADED"),
    ],
)
def test_silence_names_what_each_stage_removed(stage, code):
    [reason] = for_silence([removal(stage)], None, 0)
    assert (reason.code, reason.text) == (code, "Why.")


def test_silence_says_what_doing_nothing_beat():
    [reason] = for_silence([], candidate(0.1), 250_000)
    assert reason.code == "BELOW_THRESHOLD"
    assert reason.text == (
        "Doing nothing is better: the best candidate, sale, is worth 0.2000 EUR, not more than 0.2500."
    )


def test_silence_orders_its_reasons_by_stage_and_counts_equal_ones():
    removed = [
        removal("score"),
        *[removal("eligibility", "B.")] * 2,
        removal("eligibility", "A."),
        removal("consent"),
    ]
    reasons = for_silence(removed, candidate(), 10**9)
    assert [(reason.code, reason.text) for reason in reasons[1:]] == [
        ("NO_CONSENT", "Why."),
        ("NOT_ELIGIBLE", "B. (2 candidates)"),
        ("NOT_ELIGIBLE", "A."),
        ("DEGRADED", "Why."),
    ]
    assert reasons[0].code == "BELOW_THRESHOLD"


@given(st.permutations([removal("eligibility", text) for text in "ABBCCDE"]))
def test_silence_keeps_the_three_most_frequent_texts_in_one_order(removed):
    texts = [reason.text for reason in for_silence(removed, None, 0)]
    assert texts == ["B (2 candidates)", "C (2 candidates)", "A"]


def test_everything_that_changed_an_action_is_told():
    told = for_action(
        candidate(action_class="default"),
        why="Your coffee runs out.",
        explored=True,
        bundle="They go together.",
        factors=[("weight", "It is evening."), ("lever", "A push."), ("measure", "Little effort.")],
        moved_by=["Nobody is woken."],
        arm="no_levers",
    )
    assert codes(told) == [
        "WHY",
        "DEFAULT",
        "BUNDLE",
        "LIKELY",
        "VALUE",
        "WEIGHT",
        "LEVER",
        "MEASURE",
        "EXPLORED",
        "LATER",
        "CONTROL_ARM",
    ]
    assert told[0].text == "Your coffee runs out."
    assert told[8].text == "It was drawn with a probability of 25.0%, to learn from it."
    assert told[9].text == "Nobody is woken."


def test_silence_that_was_drawn_says_so():
    [reason] = for_silence([], candidate(), by_draw=True)
    assert reason.code == "EXPLORED"
    assert "12.5%" in reason.text


def test_silence_compares_what_the_arm_compared():
    [reason] = for_silence([], candidate(0.0, value=10**9), 10**6, arm="propensity_only")
    assert reason.text.endswith("is worth 0.0000 EUR, not more than 0.0000.")
