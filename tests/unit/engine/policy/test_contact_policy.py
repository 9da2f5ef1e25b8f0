"""Caps, cool-downs, repeat costs and precedence against a slow count, and at their edges."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.instants import zone
from services.engine.playbook.schema.policies import PoliciesFile
from services.engine.policy.contact import (
    Contact,
    ContactPolicy,
    Ledger,
    Response,
    horizon,
    is_counted,
)
from tests.unit.engine.policy import slow_contacts as slow
from tests.unit.engine.policy.slow_contacts import BERLIN, NOW, about, facts, statements

TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
NEVER = Ledger()


def taken(time, its=None, **others):
    return Contact(facts=its or facts(), reserve_time=time, consume_time=time, **others)


def reserved(until, its=None, **others):
    return Contact(facts=its or facts(), reserve_time=NOW - DAY, expire_time=until, **others)


def ledger(*contacts, responses=()):
    return Ledger(contacts=contacts, responses=responses)


def removal(rules, known, its=None, *, now=NOW, zones=BERLIN):
    its = its or facts()
    return ContactPolicy(known, zones, now).removal(about(rules, its), its)


def waiting(rules, known, its, possible, now=NOW):
    return ContactPolicy(known, BERLIN, now).waiting(about(rules, its), its, possible)


INSTANTS = st.sampled_from(
    [
        NOW,
        datetime(2018, 11, 4, 3, 30, tzinfo=UTC),
        datetime(2018, 2, 18, 1, 59, 59, tzinfo=UTC),
        datetime(2011, 12, 30, 9, 59, 59, 999_999, tzinfo=UTC),
        datetime(2011, 12, 30, 10, tzinfo=UTC),
        datetime(2021, 3, 27, 22, tzinfo=UTC),
        datetime(2024, 3, 1, 0, 0, tzinfo=UTC),
    ]
)
HOMES = st.lists(
    st.sampled_from(["Europe/Berlin", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "America/Havana"]),
    min_size=1,
    max_size=2,
    unique=True,
)


@settings(max_examples=250)
@given(st.data(), slow.rules(), INSTANTS, HOMES)
def test_the_policy_agrees_with_a_slow_count(data, rules, now, homes):
    zones = tuple(map(zone, homes))
    known = data.draw(slow.ledgers(now))
    policy = ContactPolicy(known, zones, now)
    for its in slow.WHOLE:
        concerning = about(rules, its)
        for taken_only, found in (
            (False, policy.removal(concerning, its)),
            (True, policy.claim_removal(concerning, its)),
        ):
            expected = slow.removed_by(rules, its, known, zones, now, taken_only=taken_only)
            assert (found and found.rule) == expected
        caps = [rule.rule for rule in concerning.others if rule.section == "caps"]
        left = [cap.most - slow.count(cap, its, known, zones, now) for cap in caps]
        assert [count for _, count in policy.slots(concerning, its)] == left
        costs = [rule.rule for rule in concerning.others if rule.section == "repeat_costs"]
        counts = [(cost, slow.count(cost, its, known, zones, now)) for cost in costs]
        assert policy.costs(concerning, its) == [(cost, count) for cost, count in counts if count]


@settings(max_examples=150)
@given(st.data(), slow.rules(), st.lists(st.sampled_from(slow.WHOLE), unique=True))
def test_precedence_agrees_with_a_slow_look_at_everything(data, rules, possible):
    known = data.draw(slow.ledgers(NOW))
    policy = ContactPolicy(known, BERLIN, NOW)
    for left in (possible, possible[1:]):
        for its in left:
            found = policy.waiting(about(rules, its), its, left)
            assert (found and found.rule) == slow.waits_by(rules, its, left, known, NOW)
    assert all(
        is_counted(slow.book(rules), about(rules, its), its)
        == any(
            slow.is_in(slow.applies_to(each.rule), its)
            if each.section in ("caps", "repeat_costs")
            else each.section == "precedence" and slow.is_in(each.rule.first.model_dump(), its)
            for each in rules
        )
        for its in slow.WHOLE
    )


@settings(max_examples=200)
@given(slow.rules(), st.sampled_from(slow.WHOLE), st.sampled_from(slow.WHOLE))
def test_treatments_share_slots_where_a_contact_with_one_counts_for_the_other(rules, one, other):
    before = dict(ContactPolicy(NEVER, BERLIN, NOW).slots(about(rules, other), other))
    after = dict(ContactPolicy(ledger(taken(NOW, one)), BERLIN, NOW).slots(about(rules, other), other))
    keys = dict(ContactPolicy(NEVER, BERLIN, NOW).slots(about(rules, one), one))
    assert {key for key in before if after[key] < before[key]} == before.keys() & keys.keys()


def test_a_rolling_window_is_closed_at_both_ends():
    rules = statements(caps=[{"most": 1, "window": "7d"}])
    assert removal(rules, ledger(taken(NOW - 7 * DAY))).text == "So. (1 of 1)"
    assert removal(rules, ledger(taken(NOW - 7 * DAY - TICK))) is None
    assert removal(rules, ledger(taken(NOW))) is not None
    assert removal(rules, ledger(taken(NOW + DAY))) is not None


def test_a_calendar_window_begins_at_local_midnight_to_the_microsecond():
    rules = statements(caps=[{"most": 1, "window": "day"}])
    midnight = datetime.fromisoformat("2025-06-04T00:00:00+02:00")
    assert removal(rules, ledger(taken(midnight))) is not None
    assert removal(rules, ledger(taken(midnight - TICK))) is None


def test_a_reservation_counts_until_it_expires():
    rules = statements(caps=[{"most": 1, "window": "1h"}])
    assert removal(rules, ledger(reserved(NOW + TICK))) is not None
    assert removal(rules, ledger(reserved(NOW))) is None


def test_what_was_given_back_never_counts():
    rules = statements(caps=[{"most": 1, "window": "7d"}])
    given_back = {"release_time": NOW - TICK}
    assert removal(rules, ledger(reserved(NOW + DAY, **given_back), taken(NOW - DAY, **given_back))) is None


def test_a_taken_contact_outlives_its_reservation_and_leaves_with_the_window():
    rules = statements(caps=[{"most": 1, "window": "2d"}])
    assert removal(rules, ledger(taken(NOW - DAY, expire_time=NOW - DAY / 2))) is not None
    assert removal(rules, ledger(taken(NOW - 3 * DAY, expire_time=NOW + DAY))) is None


def test_a_claim_counts_what_was_taken_and_not_what_is_reserved():
    rules = statements(caps=[{"most": 2, "window": "7d"}])
    its = facts()
    policy = ContactPolicy(ledger(reserved(NOW + DAY), reserved(NOW + DAY), taken(NOW)), BERLIN, NOW)
    assert policy.removal(about(rules, its), its).text == "So. (3 of 2)"
    assert policy.claim_removal(about(rules, its), its) is None


def test_caps_come_before_cool_downs_and_each_in_the_order_of_declaration():
    both = statements(
        caps=[{"most": 2, "window": "7d"}, {"most": 1, "window": "7d"}, {"most": 1, "window": "day"}],
        cool_downs=[{"after": "rejected", "rest": "7d"}],
    )
    declined = [Response(facts=facts(), kind="rejected", time=NOW - DAY)]
    found = removal(both, ledger(taken(NOW), responses=declined))
    assert (found.stage, found.rule, found.condition) == ("contact", "caps_1", None)
    assert removal(both, ledger(responses=declined)).rule == "cool_downs_0"


def test_a_cool_down_rests_until_its_end_and_not_at_it():
    rules = statements(cool_downs=[{"after": "rejected", "rest": "30d"}])

    def after(time, **others):
        return removal(rules, Ledger(responses=[Response(facts=facts(**others), kind="rejected", time=time)]))

    assert after(NOW - 30 * DAY + TICK).text == "So. (rejected on 2025-05-05)"
    assert after(NOW - 30 * DAY) is None
    assert after(NOW + DAY) is not None
    assert after(NOW - DAY, action="b") is None
    assert after(NOW - DAY, treatment="other", channel="sms") is not None


def test_a_cool_down_counts_from_the_newest_answer_in_whichever_order_they_came():
    rules = statements(cool_downs=[{"after": "rejected", "rest": "2d"}])
    answers = [Response(facts=facts(), kind="rejected", time=NOW - days * DAY) for days in (9, 1, 5)]
    assert removal(rules, Ledger(responses=answers)) is not None
    others = [Response(facts=facts(), kind="accepted", time=NOW)]
    assert removal(rules, Ledger(responses=others)) is None


def test_without_a_scope_what_has_to_be_said_neither_waits_nor_counts():
    rules = statements(
        caps=[{"most": 1, "window": "7d"}],
        cool_downs=[{"after": "rejected", "rest": "7d"}],
        repeat_costs=[{"amount": 1, "window": "7d", "each": []}],
    )
    said = facts("alarm", action_class="mandatory")
    known = ledger(taken(NOW, said), responses=[Response(facts=said, kind="rejected", time=NOW)])
    assert removal(rules, known) is None
    assert removal(rules, ledger(taken(NOW)), said) is None
    assert ContactPolicy(known, BERLIN, NOW).costs(about(rules, facts()), facts()) == []


@pytest.mark.parametrize(
    "scope", [{"actions": ["alarm"]}, {"classes": ["mandatory"]}, {"channels": ["email"]}]
)
def test_a_cap_that_says_what_it_is_about_binds_what_has_to_be_said(scope):
    rules = statements(caps=[{"most": 1, "window": "7d", "applies_to": scope}])
    said = facts("alarm", action_class="mandatory")
    assert removal(rules, ledger(taken(NOW, said)), said) is not None


@pytest.mark.parametrize(
    ("each", "alike"),
    [
        ([], {"other action", "other treatment", "other channel", "other group", "other purpose"}),
        (["action"], {"other treatment", "other channel", "other group", "other purpose"}),
        (["treatment"], {"other channel", "other group", "other purpose"}),
        (["channel"], {"other action", "other treatment", "other group", "other purpose"}),
        (["group", "purpose"], {"other action", "other treatment", "other channel"}),
    ],
)
def test_each_keeps_apart_what_differs_in_it(each, alike):
    rules = statements(caps=[{"most": 1, "window": "7d", "each": each}])
    names = ("action", "treatment", "channel", "group", "purpose")
    others = {f"other {name}": facts(**{name: "else"}) for name in names}
    counted = {name for name, its in others.items() if removal(rules, ledger(taken(NOW, its)))}
    assert counted == alike


def test_the_same_treatment_of_another_action_is_another_treatment():
    rules = statements(caps=[{"most": 1, "window": "7d", "each": ["treatment"]}])
    assert removal(rules, ledger(taken(NOW, facts("b")))) is None


def test_repeat_costs_count_earlier_contacts_that_are_taken_or_reserved():
    rules = statements(repeat_costs=[{"amount": "0.50", "window": "30d"}, {"amount": 1, "window": "1h"}])
    policy = ContactPolicy(ledger(taken(NOW - DAY), reserved(NOW + DAY)), BERLIN, NOW)
    found = policy.costs(about(rules, facts()), facts())
    assert [(cost.name, cost.amount, count) for cost, count in found] == [
        ("repeat_costs_0", 500_000, 2),
        ("repeat_costs_1", 1_000_000, 1),
    ]


SERVICE = {"purposes": ["service"]}
MARKETING = {"purposes": ["marketing"]}
SERVED, OFFERED = facts("s", purpose="service"), facts("m", purpose="marketing")


def first_service(**more):
    return statements(precedence=[{"first": SERVICE, "applies_to": MARKETING, **more}])


def test_marketing_waits_while_service_could_be_chosen():
    rules = first_service()
    found = waiting(rules, NEVER, OFFERED, [OFFERED, SERVED])
    assert (found.stage, found.rule, found.text) == ("contact", "precedence_0", "So.")
    assert waiting(rules, NEVER, SERVED, [OFFERED, SERVED]) is None
    assert waiting(rules, NEVER, OFFERED, [OFFERED]) is None


def test_one_policy_may_be_asked_about_other_treatments_that_are_left():
    policy, concerning = ContactPolicy(NEVER, BERLIN, NOW), about(first_service(), OFFERED)
    asked = [policy.waiting(concerning, OFFERED, left) for left in ([OFFERED], [OFFERED, SERVED], [OFFERED])]
    assert [bool(found) for found in asked] == [False, True, False]


def test_marketing_waits_while_service_is_under_way_and_for_a_while_after():
    def waits(contact, **more):
        return waiting(first_service(**more), ledger(contact), OFFERED, [OFFERED]) is not None

    assert waits(reserved(NOW + TICK, SERVED))
    assert not waits(reserved(NOW, SERVED))
    assert not waits(reserved(NOW + DAY, SERVED, release_time=NOW))
    assert not waits(reserved(NOW + DAY, OFFERED), within="2d")
    assert not waits(taken(NOW, SERVED))
    assert waits(taken(NOW - 2 * DAY + TICK, SERVED), within="2d")
    assert not waits(taken(NOW - 2 * DAY, SERVED), within="2d")
    assert not waits(taken(NOW, SERVED, release_time=NOW), within="2d")


def test_what_comes_first_does_not_wait_for_itself():
    rules = statements(precedence=[{"first": {"actions": ["s"]}, "applies_to": {"groups": ["g"]}}])
    assert waiting(rules, ledger(reserved(NOW + DAY, SERVED)), SERVED, [SERVED]) is None


def test_what_waits_itself_still_lets_others_wait():
    rules = statements(
        precedence=[
            {"first": {"actions": ["b"]}, "applies_to": {"actions": ["a"]}},
            {"first": {"actions": ["c"]}, "applies_to": {"actions": ["b"]}},
        ]
    )
    possible = [facts("a"), facts("b"), facts("c")]
    policy = ContactPolicy(NEVER, BERLIN, NOW)
    found = [policy.waiting(about(rules, its), its, possible) for its in possible]
    assert [each and each.rule for each in found] == ["precedence_0", "precedence_1", None]


def test_a_ledger_as_of_a_moment_undoes_what_came_later():
    known = ledger(
        taken(NOW - DAY),
        Contact(facts=facts("late"), reserve_time=NOW - DAY, consume_time=NOW + TICK, expire_time=NOW + DAY),
        Contact(facts=facts("kept"), reserve_time=NOW - DAY, release_time=NOW + TICK, expire_time=NOW + DAY),
        Contact(facts=facts("edge"), reserve_time=NOW, consume_time=NOW, release_time=NOW),
        Contact(facts=facts("after"), reserve_time=NOW + TICK, expire_time=NOW + DAY),
        Contact(facts=facts("told"), consume_time=NOW + TICK),
        Contact(facts=facts("heard"), consume_time=NOW),
        responses=[Response(facts=facts(), kind="viewed", time=NOW + off) for off in (TICK, 0 * TICK, -TICK)],
    )
    seen = known.as_of(NOW)
    assert [
        (each.facts.action_id, each.consume_time, each.release_time, each.is_reserved(NOW))
        for each in seen.contacts
    ] == [
        ("a", NOW - DAY, None, False),
        ("late", None, None, True),
        ("kept", None, None, True),
    ]
    assert [response.time for response in seen.responses] == [NOW - TICK]


@settings(max_examples=100)
@given(slow.ledgers(NOW))
def test_a_ledger_as_of_later_moments_is_read_the_same(known):
    assert known.as_of(NOW + DAY).as_of(NOW) == known.as_of(NOW)


@pytest.mark.parametrize(
    ("sections", "length"),
    [
        ({}, timedelta(0)),
        ({"quiet_hours": []}, timedelta(0)),
        ({"caps": [{"most": 1, "window": "12h"}, {"most": 1, "window": "7d"}]}, 7 * DAY),
        ({"caps": [{"most": 1, "window": "month"}, {"most": 1, "window": "7d"}]}, 32 * DAY),
        ({"cool_downs": [{"after": "viewed", "rest": "90d"}]}, 90 * DAY),
        ({"repeat_costs": [{"amount": 1, "window": "week"}]}, 8 * DAY),
        ({"precedence": [{"first": SERVICE, "applies_to": MARKETING, "within": "3d"}]}, 3 * DAY),
        ({"precedence": [{"first": SERVICE, "applies_to": MARKETING}]}, DAY),
    ],
)
def test_the_horizon_is_the_longest_look_back(sections, length):
    named = {
        section: [{"name": f"n{number}", "text": "So.", **each} for number, each in enumerate(listed)]
        for section, listed in sections.items()
    }
    assert horizon(PoliciesFile.model_validate(named)) == length


@settings(max_examples=100)
@given(st.data(), slow.rules(), INSTANTS)
def test_nothing_before_the_horizon_matters_but_what_is_reserved(data, rules, now):
    named = {}
    for each in rules:
        named.setdefault(each.section, []).append(each.rule.model_dump(by_alias=True))
    known = data.draw(slow.ledgers(now))
    start = now - horizon(PoliciesFile.model_validate(named))
    recent = Ledger(
        contacts=[
            each for each in known.contacts if each.is_reserved(now) or (each.consume_time or now) >= start
        ],
        responses=[each for each in known.responses if each.time >= start],
    )
    whole, part = ContactPolicy(known, BERLIN, now), ContactPolicy(recent, BERLIN, now)
    for its in slow.WHOLE:
        concerning = about(rules, its)
        assert whole.removal(concerning, its) == part.removal(concerning, its)
        assert whole.costs(concerning, its) == part.costs(concerning, its)
        assert whole.waiting(concerning, its, ()) == part.waiting(concerning, its, ())
