"""The contact policy as it stands in a playbook: defaults, whom it is about, and what is wrong with it."""

import textwrap
from datetime import timedelta
from pathlib import Path

import pytest

from services.engine.playbook.analysis import analyse
from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import load
from services.engine.policy.contact import Facts, facts_of, is_counted
from tests.playbooks import load_playbook, write_playbook
from tests.unit.engine.policy.slow_contacts import NOW

WEEKLY = {"name": "weekly", "text": "Two a week.", "most": 2, "window": "7d"}
REST = {"name": "rest", "text": "No means no.", "after": "rejected", "rest": "30d"}
EXTRA = {"name": "extra", "text": "It is expected.", "amount": 0.5, "window": "month"}
SERVICE_FIRST = {
    "name": "service_first",
    "text": "Service comes first.",
    "first": {"purposes": ["service"]},
    "applies_to": {"purposes": ["marketing"]},
}
ALL = {"caps": [WEEKLY], "cool_downs": [REST], "repeat_costs": [EXTRA], "precedence": [SERVICE_FIRST]}


def policies(**sections):
    return ("policies", sections)


def about(playbook, action_id, treatment_id="mail"):
    action = playbook.actions[action_id]
    treatment = action.treatments[treatment_id]
    facts = facts_of(action_id, action, treatment_id, treatment)
    return playbook.rules.concerning(action_id, action, treatment_id, treatment), facts


def names(playbook, action_id):
    return [rule.rule.name for rule in about(playbook, action_id)[0].others]


def told(folder, *changes):
    with pytest.raises(PlaybookError) as caught:
        load_playbook(folder, *changes)
    return [problem.message for problem in caught.value.problems]


def test_what_is_left_out_is_a_day_to_claim_and_one_of_all_or_of_an_action(tmp_path):
    found = load_playbook(tmp_path, policies(**ALL)).policies
    assert found.claim_within == timedelta(days=1)
    assert (found.caps[0].each, found.cool_downs[0].each, found.repeat_costs[0].each) == (
        (),
        ("action",),
        ("action",),
    )
    assert (found.caps[0].window, found.repeat_costs[0].window) == (timedelta(days=7), "month")
    assert (found.repeat_costs[0].amount, found.precedence[0].within) == (500_000, None)


def test_the_statements_about_a_treatment_come_in_their_order_and_spare_what_has_to_be_said(tmp_path):
    lever = {"name": "push", "text": "Push it.", "factor": 2}
    playbook = load_playbook(tmp_path, policies(**ALL, levers=[lever]))
    assert names(playbook, "sale") == ["push", "weekly", "rest", "extra", "service_first"]
    assert names(playbook, "recall") == ["push"]


def test_facts_are_those_of_the_treatment(tmp_path):
    _, facts = about(load_playbook(tmp_path), "sale", "note")
    assert facts == Facts(
        action_id="sale",
        treatment_id="note",
        group="offers",
        channel="push",
        purpose="marketing",
        action_class="standard",
    )


@pytest.mark.parametrize(
    ("sections", "counted"),
    [
        ({}, set()),
        ({"cool_downs": [REST]}, set()),
        ({"caps": [WEEKLY]}, {"sale"}),
        ({"caps": [{**WEEKLY, "applies_to": {"actions": ["recall"]}}]}, {"recall"}),
        ({"repeat_costs": [EXTRA]}, {"sale"}),
        ({"precedence": [SERVICE_FIRST]}, {"recall"}),
        (ALL, {"sale", "recall"}),
    ],
)
def test_contacts_are_counted_where_a_statement_looks_at_them(tmp_path, sections, counted):
    playbook = load_playbook(tmp_path, policies(**sections))
    found = {name for name in playbook.actions if is_counted(playbook.rules, *about(playbook, name))}
    assert found == counted


@pytest.mark.parametrize(
    ("first", "problem"),
    [
        ({"groups": ["notice"]}, 'unknown group "notice"; did you mean "notices"?'),
        ({"actions": ["recal"]}, 'unknown action "recal"; did you mean "recall"?'),
        ({"treatments": ["recall/post"]}, 'unknown treatment "recall/post"; did you mean "recall/mail"?'),
        ({"channels": ["mail"]}, 'unknown channel "mail"; did you mean "email"?'),
        ({"purposes": ["data"]}, '"data" is a purpose of use data; needed: contact'),
        ({"purposes": ["service", "service"]}, '"service" stands twice'),
        ({}, '"first" must say what it is about'),
    ],
)
def test_what_comes_first_is_checked_as_any_scope(tmp_path, first, problem):
    data = ("playbook", "purposes", "data", {"use": "data"})
    sections = policies(precedence=[{**SERVICE_FIRST, "first": first}])
    assert told(tmp_path, data, sections) == [problem]


def test_a_precedence_says_what_waits(tmp_path):
    first_only = {key: value for key, value in SERVICE_FIRST.items() if key != "applies_to"}
    assert told(tmp_path, policies(precedence=[first_only])) == ['"applies_to" is missing']


def test_names_are_unique_over_all_sections(tmp_path):
    twice = policies(caps=[WEEKLY], cool_downs=[{**REST, "name": "weekly"}])
    assert told(tmp_path, twice) == ['a rule named "weekly" stands above']


def test_the_example_of_the_readme_is_sound(tmp_path):
    readme = (Path(__file__).parents[4] / "playbooks" / "README.md").read_text(encoding="utf-8")
    example = readme.split("\n## How often\n\n")[1].split("\n\n")[0]
    folder = write_playbook(tmp_path, policies=textwrap.dedent(example))
    assert [rule.section for rule in load(folder).rules.rules] == [
        "caps",
        "caps",
        "cool_downs",
        "repeat_costs",
        "precedence",
    ]
    assert not [finding for finding in analyse(load(folder), NOW) if finding.is_problem]


def test_every_condition_that_does_not_compile_is_told_with_its_owner(tmp_path):
    stop = ("actions", "actions", "sale", "stop_when", "profile.aeg > 3")
    weight = {"name": "w", "text": "W.", "when": "profile.teir == 'gold'", "factor": 2}
    assert told(tmp_path, stop, policies(weights=[weight])) == [
        'action "sale": "profile.aeg" is not declared; did you mean "profile.age"?',
        'rule "w": "profile.teir" is not declared; did you mean "profile.tier"?',
    ]
