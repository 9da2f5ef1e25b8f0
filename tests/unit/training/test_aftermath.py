"""What follows decisions, held against a slow and obvious count."""

import functools
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from deciding import FILES
from hypothesis import given
from hypothesis import strategies as st

from services.engine.features.history import StoredEvent
from services.engine.playbook.loader import load
from training.data.aftermath import follow
from training.data.decided import Decided, Offered, Reported
from training.data.families import Families
from training.data.outcomes import Outcomes

HOUR = 3_600_000_000
DAY = 24 * HOUR
LATE = 10**18


@functools.cache
def book():
    """Load the shop; bread succeeds by an event within 3 hours, wine within 5, the survey by a report."""
    changed = {name: text.rstrip() + "\n" for name, text in FILES.items()}
    changed["events.yaml"] += "          bought: { attributes: { action: { type: string } } }\n"
    changed["actions.yaml"] = (
        changed["actions.yaml"]
        .replace(
            "groups: { offers: {}, service: {} }",
            """groups:
          offers: { outcome: { event: bought, match: action, within: 5h } }
          bakery: { outcome: { event: bought, match: action, within: 3h } }
          service: {}""",
        )
        .replace("bread-coupon:\n            group: offers", "bread-coupon:\n            group: bakery")
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, text in changed.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        return load(Path(folder))


WITHIN = {"bread-coupon": 3 * HOUR, "wine-coupon": 5 * HOUR}
VALUE = {"bread-coupon": 4.0, "wine-coupon": 9.0}


def decided(
    decision_id="d", customer_id="anna", time=0, candidates=("wine-coupon",), offered=(), arm="", members=()
):
    return Decided(
        decision_id=decision_id,
        customer_id=customer_id,
        time=time,
        playbook_version="any",
        arm=arm,
        arm_share=0.0,
        candidates=frozenset(candidates),
        offered=offered,
        members=members,
    )


def offer(action_id="survey", rank=1, value=600_000, cost=100_000):
    return Offered(rank=rank, action_id=action_id, value=value, cost=cost, currency="EUR")


def told(kind="ACCEPTED", rank=1, time=0, decision_id="d", **measures):
    return Reported(decision_id=decision_id, rank=rank, kind=kind, time=time, measures=measures)


def bought(time, action="wine-coupon", customer="anna", kind="bought"):
    return customer, StoredEvent(
        event_id=f"{time}", type=kind, event_time=time, attributes={"action": action}
    )


def after(decisions, reports=(), events=(), until=LATE, families=None, **options):
    return follow(decisions, reports, events, Outcomes(lambda version: book(), **options), until, families)


def alone(*arguments, **options):
    (customer,) = after(*arguments, **options).customers
    return customer


@pytest.mark.parametrize(
    ("time", "succeeded"), [(-1, False), (0, True), (5 * HOUR - 1, True), (5 * HOUR, False)]
)
def test_a_window_begins_with_the_decision_and_ends_before_its_end(time, succeeded):
    customer = alone([decided()], events=[bought(time)])
    assert (customer.succeeded, customer.value) == (succeeded, 9.0 * succeeded)


@pytest.mark.parametrize(
    "event",
    [
        bought(1, action="bread-coupon"),
        bought(1, customer="bob"),
        bought(1, kind="purchase"),
        bought(1, action=7),
        ("anna", StoredEvent(event_id="e", type="bought", event_time=1, attributes={})),
    ],
)
def test_only_the_outcome_of_a_candidate_by_the_customer_counts(event):
    assert not alone([decided()], events=[event]).succeeded


def test_a_decision_counts_when_its_last_window_has_closed():
    decisions = [decided(candidates=("bread-coupon", "wine-coupon", "survey"))]
    assert after(decisions, until=5 * HOUR - 1).open == 1
    assert after(decisions, until=5 * HOUR).open == 0


def test_what_has_no_window_is_open_only_before_it_is_made():
    decisions = [decided(time=HOUR, candidates=("survey",))]
    assert after(decisions, until=HOUR - 1).open == 1
    assert after(decisions, until=HOUR).open == 0
    assert after(decisions, until=2 * HOUR - 1, patience=HOUR).open == 1
    assert after(decisions, until=2 * HOUR, patience=HOUR).open == 0


def test_reports_count_while_they_are_waited_for_and_known():
    decisions = [decided(time=HOUR, candidates=("survey",), offered=(offer(),))]

    def accepted(time, **options):
        return alone(decisions, [told(time=time)], **options).reported["ACCEPTED"]

    assert [accepted(time, patience=HOUR) for time in (2 * HOUR - 1, 2 * HOUR)] == [1, 0]
    assert [accepted(time, until=2 * HOUR) for time in (2 * HOUR, 2 * HOUR + 1)] == [1, 0]
    assert accepted(9 * DAY) == 1


@pytest.mark.parametrize(
    ("kinds", "value"),
    [
        ((), 0.0),
        (("DELIVERED",), -0.1),
        (("VIEWED",), -0.1),
        (("REJECTED",), -0.1),
        (("OVERRIDDEN",), 0.0),
        (("ACCEPTED",), 0.5),
        (("DELIVERED", "DELIVERED", "VIEWED", "ACCEPTED", "ACCEPTED"), 0.5),
    ],
)
def test_a_treatment_is_worth_its_value_once_and_costs_once_where_it_arrived(kinds, value):
    decisions = [decided(candidates=("survey",), offered=(offer(),))]
    customer = alone(decisions, [told(kind) for kind in kinds])
    assert customer.value == pytest.approx(value)
    assert customer.succeeded is ("ACCEPTED" in kinds)
    assert customer.reported == dict.fromkeys(kinds, 1)


def test_where_the_outcome_is_an_event_a_report_of_acceptance_is_none():
    decisions = [decided(offered=(offer("wine-coupon", value=9_000_000, cost=10_000),))]
    found = after(decisions, [told()])
    (customer,) = found.customers
    assert (customer.succeeded, customer.value) == (False, -0.01)
    assert (found.by_report, found.by_event) == ({}, {"wine-coupon": 1})


def test_an_action_that_the_playbook_no_longer_has_is_known_by_reports():
    decisions = [decided(candidates=("gone",), offered=(offer("gone"),))]
    found = after(decisions, [told()])
    assert found.customers[0].value == pytest.approx(0.5)
    assert found.by_report == {"gone": 1}


@pytest.mark.parametrize("action", ["receipt", "recall"])
def test_what_ignores_arms_is_not_looked_at_unless_asked(action):
    decisions = [decided(candidates=(action,), offered=(offer(action),))]
    reports = [told(effort=3.0)]
    customer = alone(decisions, reports)
    assert (customer.answered, customer.value, customer.reported, customer.measures) == (0, 0.0, {}, {})
    customer = alone(decisions, reports, every=True)
    assert (customer.answered, customer.value, customer.measures) == (1, 0.5, {"effort": 3.0})


def test_reports_of_ranks_and_decisions_that_are_not_there_are_of_no_consequence():
    decisions = [decided(candidates=("survey",), offered=(offer(),))]
    customer = alone(decisions, [told(rank=2), told(rank=0), told(decision_id="other")])
    assert (customer.reported, customer.value) == ({}, 0.0)


def test_an_override_of_an_empty_answer_counts():
    customer = alone([decided()], [told("OVERRIDDEN", rank=0, effort=1.0)])
    assert customer.reported == {"OVERRIDDEN": 1}
    assert customer.measures == {"effort": 1.0}


def test_a_measure_is_the_mean_of_all_reports_of_a_customer():
    decisions = [
        decided(candidates=("survey",), offered=(offer(),)),
        decided("e", candidates=("survey",), offered=(offer(),)),
    ]
    reports = [told(effort=1.0), told("VIEWED", effort=2.0, delight=0.5), told(decision_id="e", effort=6.0)]
    assert alone(decisions, reports).measures == {"effort": 3.0, "delight": 0.5}


def test_customers_are_in_the_arm_of_their_first_decision():
    found = after([decided(time=2, arm="late"), decided("e", time=1, arm="early"), decided("f", "bob")])
    assert [customer.arm for customer in found.customers] == ["early", ""]
    assert found.moved == 1


def test_who_is_not_known_is_left_out():
    found = after([decided(customer_id=""), decided("e")])
    assert (found.nobody, len(found.customers)) == (1, 1)


def test_who_is_linked_by_now_is_one_customer_by_whichever_id():
    decisions = [decided(arm="early"), decided("e", "bob", time=HOUR, arm="late", offered=(offer(),))]
    events = [bought(2 * HOUR, customer="carl")]
    found = after(
        decisions, [told(decision_id="e")], events, families=Families([("carl", "bob"), ("anna", "bob")])
    )
    (customer,) = found.customers
    assert (customer.arm, customer.decisions, found.moved) == ("early", 2, 1)
    assert (customer.value, customer.reported) == (9.0 + 0.5, {"ACCEPTED": 1})


def test_who_was_one_when_it_was_decided_is_one_customer_also_after_an_unlink():
    decisions = [decided(members=("anna", "bob")), decided("e", "bob", time=HOUR)]
    customer = alone(decisions, events=[bought(2 * HOUR, customer="bob")])
    assert (customer.decisions, customer.value) == (2, 9.0)


def test_a_decision_that_does_not_count_makes_nobody_one():
    decisions = [decided(), decided("e", "bob"), decided("f", time=DAY, members=("anna", "bob"))]
    found = after(decisions, events=[bought(1, customer="bob")], until=6 * HOUR)
    assert found.open == 1
    assert [one.succeeded for one in found.customers] == [False, True]


times = st.integers(0, 12).map(lambda hour: hour * HOUR)
decisions = st.lists(
    st.builds(
        decided,
        customer_id=st.sampled_from(["anna", "anna", "bob", "carl"]),
        time=times,
        members=st.sampled_from([(), (), ("anna", "bob"), ("carl",), ("dora", "carl")]),
        candidates=st.sets(st.sampled_from(["bread-coupon", "wine-coupon", "survey"])),
    ),
    max_size=8,
)
events = st.lists(
    st.builds(
        bought,
        times,
        st.sampled_from(["bread-coupon", "wine-coupon", "survey"]),
        st.sampled_from(["anna", "anna", "bob", "carl", "dora"]),
    ),
    max_size=10,
)
links = st.lists(
    st.sampled_from([("bob", "anna"), ("carl", "dora"), ("anna", "carl")]), max_size=2, unique=True
)


@given(decisions, events, st.just(LATE) | times, links)
def test_successes_are_what_a_slow_count_finds(decisions, events, until, links):
    found = after(decisions, events=events, until=until, families=Families(links))
    counted, still_open = [], 0
    for decision in decisions:
        ends = {action: decision.time + WITHIN[action] for action in decision.candidates & WITHIN.keys()}
        if decision.time > until or any(end > until for end in ends.values()):
            still_open += 1
        else:
            counted.append((decision, ends))
    pairs = [*links, *((one.customer_id, other) for one, _ in counted for other in one.members)]
    expected = {}
    for decision, ends in counted:
        family = {decision.customer_id}
        for _ in pairs:
            family.update(name for pair in pairs for name in pair if family & set(pair))
        asked_for = {one.customer_id for one, _ in counted}
        hits = expected.setdefault(min(family & asked_for), set())
        for action, end in ends.items():
            mine = [
                event.event_time
                for who, event in events
                if who in family and event.attributes["action"] == action
            ]
            waited = [time for time in mine if decision.time <= time < end]
            hits.update((action, time) for time in sorted(waited)[:1])
    assert found.open == still_open
    assert [(one.succeeded, one.value) for one in found.customers] == [
        (bool(expected[name]), pytest.approx(sum(VALUE[action] for action, _ in expected[name])))
        for name in sorted(expected)
    ]


def test_windows_are_those_of_the_playbook():
    assert book().outcome_of("wine-coupon").within == timedelta(hours=5)
    assert book().outcome_of("survey") is None
