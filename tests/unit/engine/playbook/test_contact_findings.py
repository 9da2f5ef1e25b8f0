"""Caps that can never bind, precedences that never hold anything back, stops that can be read."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.playbook.analysis import analyse
from services.engine.playbook.contact_findings import idle_contact_policies
from services.engine.playbook.reach import Reach
from services.engine.policy.contact import Contact, ContactPolicy, Ledger, facts_of
from tests.playbooks import load_playbook
from tests.unit.engine.playbook.test_playbook_analysis import RECALL, SALE, notes, policies, problems
from tests.unit.engine.policy.slow_contacts import BERLIN, NOW


def cap(name, most, window, each=(), **scope):
    return {
        "name": name,
        "text": "Enough.",
        "most": most,
        "window": window,
        "each": list(each),
        "applies_to": scope,
    }


def precedence(name, first, then):
    return {"name": name, "text": "In order.", "first": first, "applies_to": then}


ALWAYS = 'cap "b" can never bind: cap "a" always binds before it'
EMAIL, OFFERS, BOTH = {"channels": ["email"]}, {"groups": ["offers"]}, {"groups": ["offers", "notices"]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (cap("a", 2, "7d"), cap("b", 2, "7d")),
        (cap("a", 2, "7d"), cap("b", 3, "7d", **OFFERS)),
        (cap("a", 2, "7d"), cap("b", 2, "1d", ["channel"])),
        (cap("a", 2, "7d", ["action"]), cap("b", 2, "7d", ["treatment"])),
        (cap("a", 2, "7d", ["group"]), cap("b", 2, "7d", ["channel", "action"])),
        (cap("a", 2, "month", **BOTH), cap("b", 5, "day", **EMAIL)),
        (cap("a", 2, "week"), cap("b", 2, "day")),
    ],
)
def test_a_cap_that_another_one_always_forestalls_is_a_problem(tmp_path, one, other):
    assert problems(tmp_path, policies(caps=[one, other])) == [("{", ALWAYS)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (cap("a", 3, "7d"), cap("b", 2, "7d", treatments=["sale/note"])),
        (cap("a", 2, "1d"), cap("b", 3, "7d")),
        (cap("a", 2, "7d", ["channel"]), cap("b", 3, "7d")),
        (cap("a", 2, "7d", ["channel"]), cap("b", 3, "7d", ["action"])),
        (cap("a", 2, "month"), cap("b", 3, "week")),
        (cap("a", 2, "7d"), cap("b", 3, "day")),
        (cap("a", 2, "7d", **EMAIL), cap("b", 3, "7d", **OFFERS)),
        (cap("a", 2, "7d"), cap("b", 3, "7d", **BOTH)),
    ],
)
def test_caps_that_may_both_bind_are_none(tmp_path, one, other):
    assert problems(tmp_path, policies(caps=[one, other])) == []


def test_of_two_caps_that_say_the_same_the_one_below_is_told_at_its_line(tmp_path):
    twins = policies(caps=[cap("b", 2, "7d"), cap("a", 2, "7d"), cap("c", 9, "7d", **OFFERS)])
    assert problems(tmp_path, twins) == [
        ("{", 'cap "a" can never bind: cap "b" always binds before it'),
        ("{", 'cap "c" can never bind: cap "b" always binds before it'),
    ]


def test_a_wider_cap_forestalls_one_above_it_too(tmp_path):
    both = policies(caps=[cap("b", 3, "7d", **OFFERS), cap("a", 2, "7d")])
    assert problems(tmp_path, both) == [("{", ALWAYS)]


def test_a_cap_about_no_treatment_is_a_problem(tmp_path):
    nowhere = cap("a", 2, "7d", groups=["notices"], purposes=["marketing"])
    assert problems(tmp_path, policies(caps=[nowhere, cap("b", 2, "7d")])) == [
        ("{", 'cap "a" can never bind: it is about no treatment')
    ]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            precedence("p", {"groups": ["notices"], "purposes": ["marketing"]}, OFFERS),
            'precedence "p" never holds anything back: "first" is about no treatment',
        ),
        (
            precedence("p", BOTH, OFFERS),
            'precedence "p" never holds anything back: all of it is in "first"',
        ),
    ],
)
def test_a_precedence_that_holds_nothing_back_is_a_problem(tmp_path, statement, message):
    assert problems(tmp_path, policies(precedence=[statement])) == [("{", message)]


def test_precedences_that_wait_for_each_other_are_a_problem(tmp_path):
    forth = precedence("forth", {"groups": ["notices"]}, OFFERS)
    back = precedence("back", {"purposes": ["marketing"]}, {"actions": ["recall"]})
    assert problems(tmp_path / "circle", policies(precedence=[forth, back])) == [
        ("{", 'precedence "back" waits in a circle with precedence "forth"')
    ]
    assert problems(tmp_path / "line", policies(precedence=[forth])) == []


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ({"caps": [cap("s", 2, "7d", **EMAIL)]}, 'cap "s"'),
        (
            {
                "cool_downs": [
                    {"name": "s", "text": "No.", "after": "viewed", "rest": "1d", "applies_to": EMAIL}
                ]
            },
            'cool-down "s"',
        ),
    ],
)
def test_what_may_hold_back_what_has_to_be_said_is_noted(tmp_path, statement, what):
    assert [message for _, message in notes(tmp_path, policies(**statement))] == [
        f"{what} may hold back recall, which has to be said"
    ]


def test_what_names_what_it_holds_back_is_not_noted(tmp_path):
    named = [cap("s", 2, "1d", actions=["recall"]), cap("t", 3, "7d", classes=["mandatory"])]
    assert notes(tmp_path, policies(caps=named)) == []


def test_a_stop_that_is_always_true_is_told_where_it_stands(tmp_path):
    found = problems(tmp_path, policies(), (*SALE, "stop_when", "profile.age > 5 || profile.age <= 5"))
    assert found == [
        (
            '"stop_when": "profile.age > 5 || profile.age <= 5"',
            '"stop_when" of sale is never false, so sale can never be chosen',
        ),
        ('"sale": {', 'sale can never be chosen: "stop_when" of sale is never false of it'),
    ]


def test_a_stop_that_excludes_what_makes_an_action_eligible_is_told(tmp_path):
    adult = {"name": "adult", "text": "Adults.", "when": "profile.age >= 18"}
    stop = (*SALE, "stop_when", "profile.age >= 18")
    found = [message for _, message in problems(tmp_path, policies(eligibility=[adult]), stop)]
    assert found == [
        'rule "adult" (profile.age >= 18) and "stop_when" of sale (unless profile.age >= 18)'
        " exclude each other, so sale can never be chosen",
        'sale can never be chosen: rule "adult" (profile.age >= 18) and "stop_when" of sale'
        " (unless profile.age >= 18) exclude each other",
    ]


def test_a_word_in_a_stop_that_nothing_is_equal_to_is_told_at_the_stop(tmp_path):
    playbook = load_playbook(tmp_path, policies(), (*SALE, "stop_when", "profile.tier == 'goldd'"))
    [finding] = [each for each in analyse(playbook, NOW) if each.word]
    assert (finding.file, finding.path) == ("actions.yaml", ("actions", "sale", "stop_when"))
    assert finding.message == '"stop_when" of sale: profile.tier is never "goldd"; did you mean "gold"?'


def test_a_stop_that_never_stops_is_told(tmp_path):
    never = (*RECALL, "stop_when", "false")
    assert [message for _, message in notes(tmp_path, policies(), never)] == [
        '"stop_when" of recall is always false, so it removes nothing'
    ]


SCOPES = st.sampled_from([{}, OFFERS, EMAIL, BOTH, {"treatments": ["sale/note"]}, {"classes": ["standard"]}])
EACH = st.lists(st.sampled_from(["group", "action", "treatment", "channel", "purpose"]), unique=True)
CAPS = st.builds(
    lambda most, window, each, scope: cap("x", most, window, each, **scope),
    st.integers(1, 3),
    st.sampled_from(["1d", "7d", "day", "week", "month"]),
    EACH,
    SCOPES,
)
TIMES = st.integers(0, 40 * 24).map(lambda hours: NOW - timedelta(hours=hours))


@settings(max_examples=60)
@given(st.data(), st.lists(CAPS, min_size=2, max_size=4))
def test_a_cap_that_is_said_never_to_bind_never_does(tmp_path_factory, data, caps):
    named = [{**each, "name": f"c{number}"} for number, each in enumerate(caps)]
    playbook = load_playbook(tmp_path_factory.mktemp("caps"), policies(caps=named))
    idle = {finding.message.split('"')[1] for finding in idle_contact_policies(Reach(playbook))}
    others = [each for each in named if each["name"] not in idle]
    slim = load_playbook(tmp_path_factory.mktemp("caps"), policies(caps=others))
    every = [facts_of(*treatment) for treatment in playbook.treatments()]
    contact = st.builds(Contact, facts=st.sampled_from(every), reserve_time=TIMES, consume_time=TIMES)
    for known in data.draw(st.lists(st.lists(contact, max_size=8), min_size=20, max_size=20)):
        for treatment in playbook.treatments():
            full, less = (
                ContactPolicy(Ledger(contacts=known), BERLIN, NOW).removal(
                    each.rules.concerning(*treatment), facts_of(*treatment)
                )
                for each in (playbook, slim)
            )
            assert (full is None) == (less is None)
