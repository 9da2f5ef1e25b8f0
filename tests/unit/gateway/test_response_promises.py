"""An open promise makes what answers it worth more, the more of its time is over."""

import functools
import math
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from deciding import ANNA, DOWN, EVERYTHING, FILES, Shop, chosen, like_it, model, served_by
from hypothesis import given
from hypothesis import strategies as st

from services.engine.arbitration.arms import arm_of
from services.engine.features.feature_set import FeatureSet
from services.engine.features.schema import fingerprint
from services.engine.playbook.loader import load
from services.engine.playbook.schema.policies import Promise, Scope
from services.engine.policy import promises
from services.engine.policy.consent import Permission
from services.gateway.domain.knowledge import Profile
from services.gateway.domain.making import Edition
from services.gateway.fakes import InMemoryFeatures, InMemoryProfiles, InMemoryScorer

HOUR = 3_600.0
MORE = {
    "playbook.yaml": """
        control_arms: { %s }
    """,
    "events.yaml": """
          written: { attributes: { letter: { type: string } } }
          answered: { consent: insight, attributes: { letter: { type: string } } }
    """,
    "features.yaml": """
          waiting: { kind: open, event: written, key: letter, closed_by: [answered] }
    """,
    "policies.yaml": """
        promises:
          - name: reply
            text: Who writes has an answer within two hours.
            feature: waiting
            within: 2h
            most: 3
            applies_to: { actions: [survey] }
        levers:
          - { name: less_wine, text: Less of it., factor: 0.15, applies_to: { actions: [wine-coupon] } }
    """,
}


@functools.cache
def edition(arm=""):
    """Load the shop's playbook with a promise that the survey answers."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            more = MORE.get(name, "").replace("%s", f"{arm}: 0.5" if arm else "")
            text = text.replace("care: {} }", "care: {}, insight: { use: data } }")
            (Path(folder) / name).write_text(text + more, encoding="utf-8")
        playbook = load(Path(folder))
    return Edition(playbook, FeatureSet(playbook))


def shop(waiting=math.nan, permitted=True, arm="", customer=ANNA):
    known = edition(arm)
    permissions = EVERYTHING | {("insight", ""): Permission(granted=permitted)}
    profile = Profile(customer_id=customer, attributes={"age": 40}, permissions=permissions)
    layout = tuple(known.feature_set.layout(("spend_30d", "liking")))
    return Shop(
        edition=known,
        profiles=InMemoryProfiles(profiles={customer: profile}),
        features=InMemoryFeatures(
            customer={"spend_30d": 1.0, "purchases_30d": 1.0, "waiting": waiting}, candidate={"liking": 0.4}
        ),
        scorer=InMemoryScorer(model=model(layout=layout, fingerprint=fingerprint(layout)), score_row=like_it),
    )


def told(opened, **fields):
    answer = opened.decide(include_explanation=True, action_ids=["survey"], **fields)
    trace = next(one for one in answer.explanation.candidates if one.action_id == "survey")
    reasons = [one.text for action in answer.actions for one in action.reasons if one.code == "PROMISE"]
    return trace, reasons


@pytest.mark.parametrize(
    ("waiting", "factor", "standing"),
    [
        (0.5 * HOUR, 1.5, "1 h 30 min left of 2 h"),
        (98 * 60, 1 + 2 * 98 / 120, "22 min left of 2 h"),
        (2 * HOUR, 3.0, "0 s left of 2 h"),
        (2 * HOUR + 35.0, 3.0, "overdue for 35 s, promised within 2 h"),
        (1e9, 3.0, "overdue for 11573 d, promised within 2 h"),
    ],
)
def test_worth_rises_evenly_up_to_the_limit_and_stays(waiting, factor, standing):
    trace, reasons = told(shop(waiting))
    [found] = trace.factors
    assert (found.kind, found.name, found.factor) == ("promise", "reply", pytest.approx(factor))
    assert reasons == [found.text] == [f"Who writes has an answer within two hours. ({standing})"]
    [read] = found.reads
    assert (read.name, read.value.number_value) == ("feature.waiting", waiting)
    assert trace.priority == pytest.approx(factor * 0.4 * 0.60)


@pytest.mark.parametrize("opened", [shop(), shop(0.0), shop(HOUR, permitted=False)])
def test_where_nothing_is_open_or_known_to_be_it_changes_nothing(opened):
    trace, reasons = told(opened)
    assert (list(trace.factors), reasons) == ([], [])
    assert trace.priority == pytest.approx(0.4 * 0.60)


def test_it_is_about_what_answers_it_only():
    answer = shop(HOUR).decide(include_explanation=True)
    raised = {
        trace.action_id
        for trace in answer.explanation.candidates
        if any(factor.kind == "promise" for factor in trace.factors)
    }
    assert raised == {"survey"}


def test_near_its_limit_it_wins_over_what_is_worth_more_by_itself():
    asked = {"action_ids": ["survey", "wine-coupon"], "max_actions": 1}
    assert chosen(shop(60.0).decide(**asked)) == [("wine-coupon", "message")]
    assert chosen(shop(1.9 * HOUR).decide(**asked)) == [("survey", "question")]


def test_features_that_stand_in_have_been_waiting_on_since_they_were_read():
    opened = shop(HOUR)
    opened.decide()
    opened.now += timedelta(minutes=45)
    opened.features.failure = DOWN
    trace, reasons = told(opened)
    assert served_by(opened.decide()) == "LAST_GOOD_FEATURES"
    assert reasons == ["Who writes has an answer within two hours. (15 min left of 2 h)"]
    assert trace.factors[0].factor == pytest.approx(1 + 2 * 105 / 120)


def in_arm(arm):
    """Return a customer of a control arm."""
    shares = edition(arm).playbook.head.control_arms
    return next(name for name in map(str, range(99)) if arm_of(shares, "shop", name)[0] == arm)


def test_the_arm_without_levers_keeps_promises():
    name = in_arm("no_levers")
    trace, reasons = told(shop(HOUR, arm="no_levers", customer=name), customer_id=name)
    assert trace.priority == pytest.approx(2 * 0.4 * 0.60)
    assert len(reasons) == 1


def test_the_arm_of_chance_alone_knows_none():
    name = in_arm("propensity_only")
    trace, _ = told(shop(HOUR, arm="propensity_only", customer=name), customer_id=name)
    assert trace.priority == pytest.approx(0.4)


@given(
    st.integers(1, 10**6),
    st.floats(1.0, 1e6, exclude_min=True),
    st.lists(st.floats(-1e3, 1e12), min_size=2),
)
def test_it_never_falls_as_time_goes_by_and_stays_within_its_bounds(seconds, most, ages):
    reply = Promise(
        name="reply",
        text="x",
        applies_to=Scope(groups=("g",)),
        feature="f",
        within=timedelta(seconds=seconds),
        most=most,
    )
    factors = [promises.factor(reply, age) for age in sorted(ages)]
    assert factors == sorted(factors)
    assert all(1.0 <= factor <= most * (1 + 1e-12) for factor in factors)
    for age in ages:
        assert promises.standing(reply, age).startswith("overdue") == (timedelta(seconds=age) > reply.within)
