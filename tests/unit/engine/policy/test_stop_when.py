"""What makes an action pointless is asked last, of that action alone, and binds every class and arm."""

import pytest

from services.engine.playbook.rules import STAGES
from services.engine.policy.engagement import EngagementPolicy
from services.engine.policy.verdicts import Verdicts
from tests.playbooks import load_playbook

SALE, RECALL = ("actions", "actions", "sale"), ("actions", "actions", "recall")
BARE = ("policies", {})


def removals(playbook, values, arm=""):
    """Return what removes each treatment; ``values`` are the same for all actions."""
    policy = EngagementPolicy(Verdicts(playbook, values, lambda name: playbook.action_variables[name]), arm)
    found = {}
    for action_id, action, treatment_id, treatment in playbook.treatments():
        concerning = playbook.rules.concerning(action_id, action, treatment_id, treatment)
        exempt = action.action_class == "mandatory"
        removal = policy.removal(concerning, action_id, treatment_id, ignores_arms=exempt)
        if removal is not None:
            found[f"{action_id}/{treatment_id}"] = removal
    return found


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"profile.member": True}, "It has lost its point."),
        ({"profile.member": False}, None),
        ({}, "It has lost its point. (missing: profile.member)"),
    ],
)
def test_an_action_stays_only_where_its_stop_is_false(tmp_path, values, text):
    playbook = load_playbook(tmp_path, BARE, (*SALE, "stop_when", "profile.member"))
    found = removals(playbook, values)
    assert {removal.text for removal in found.values()} == ({text} if text else set())
    assert set(found) == ({"sale/mail", "sale/note"} if text else set())
    assert {(removal.stage, removal.rule) for removal in found.values()} <= {("stop", "stop_when")}


def test_a_stop_that_fails_stops(tmp_path):
    playbook = load_playbook(tmp_path, BARE, (*SALE, "stop_when", "1 / profile.age > 1"))
    assert "the rule failed" in removals(playbook, {"profile.age": 0})["sale/mail"].text


def test_a_stop_may_read_the_treatment_and_the_action(tmp_path):
    stop = "treatment.channel == 'push' && action.discount > 0.1"
    playbook = load_playbook(tmp_path, BARE, (*SALE, "stop_when", stop))
    assert set(removals(playbook, {})) == {"sale/note"}


def test_a_stop_binds_what_has_to_be_said_and_every_arm(tmp_path):
    stops = ((*RECALL, "stop_when", "profile.member"), (*SALE, "stop_when", "profile.age > 1"))
    playbook = load_playbook(tmp_path, BARE, *stops)
    found = removals(playbook, {"profile.member": True, "profile.age": 2}, arm="eligibility_only")
    assert set(found) == {"recall/mail", "sale/mail", "sale/note"}


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_a_stop_is_told_where_nothing_removed_before(tmp_path, stage):
    rule = {"name": "r", "text": "No.", "when": "profile.member"}
    stop = (*SALE, "stop_when", "profile.age > 1")
    playbook = load_playbook(tmp_path, ("policies", {stage: [rule]}), stop)
    removing = stage == "suppression"
    both = removals(playbook, {"profile.member": removing, "profile.age": 2})
    assert both["sale/mail"].stage == stage
    only = removals(playbook, {"profile.member": not removing, "profile.age": 2})
    assert only["sale/mail"].stage == "stop"


def test_each_stop_is_a_statement_about_its_action_between_suppressions_and_hours(tmp_path):
    sections = {
        "suppression": [{"name": "s", "text": "No.", "when": "false"}],
        "quiet_hours": [{"name": "q", "text": "Shh.", "from": "22:00", "to": "06:00"}],
    }
    stops = ((*SALE, "stop_when", "profile.member"), (*RECALL, "stop_when", "false"))
    rules = load_playbook(tmp_path, ("policies", sections), *stops).rules.rules
    assert [(rule.section, rule.rule.name, rule.scope.actions) for rule in rules] == [
        ("suppression", "s", ()),
        ("stop", "stop_when", ("sale",)),
        ("stop", "stop_when", ("recall",)),
        ("quiet_hours", "q", ()),
    ]
    assert [rule.place for rule in rules] == [1, 2, 3, 4]
