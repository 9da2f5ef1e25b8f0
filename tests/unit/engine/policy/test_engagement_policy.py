import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.policy.engagement import EngagementPolicy
from services.engine.policy.verdicts import Verdicts
from tests.playbooks import SHOP, load_playbook

ACTIONS = {
    "spring": ("offers", {"discount": 0.2, "season": "spring"}),
    "summer": ("offers", {"discount": 0.5}),
    "recall": ("notices", {}),
}
EXPRESSIONS = (
    "profile.age >= 18",
    "feature.gifts > 1.0",
    "profile.member || profile.age >= 18",
    "known.profile.member",
    "action.discount > 0.3",
    "action.season == 'spring' || profile.member",
    "!known.action.discount || profile.member",
    "feature.category_share > 0.5 || action.group == 'notices'",
    "1 / profile.age > 0",
    "10.0 / action.discount > 30.0",
    "true",
    "false",
)
SCOPES = (
    {},
    {"groups": ["offers"]},
    {"groups": ["notices"]},
    {"actions": ["spring"]},
    {"actions": ["summer", "recall"]},
    {"groups": ["notices"], "actions": ["spring"]},
)
STAGES = ("eligibility", "applicability", "suitability", "suppression")


def write(folder, rules):
    """Load a playbook with three actions and the given (stage, expression, scope) as rules r0, r1, ..."""
    policies = {stage: [] for stage in STAGES}
    for number, (stage, when, scope) in enumerate(rules):
        policies[stage].append(
            {"name": f"r{number}", "text": f"Rule {number}.", "when": when, "applies_to": scope}
        )
    sale = {key: value for key, value in SHOP["actions"]["actions"]["sale"].items() if key != "valid"}
    actions = {name: sale | {"group": group, "attributes": own} for name, (group, own) in ACTIONS.items()}
    return load_playbook(folder, ("policies", policies), ("actions", "actions", actions))


def of_action(action_id):
    group, own = ACTIONS[action_id]
    share = {"spring": {"feature.category_share": 0.9}, "summer": {"feature.category_share": 0.1}}.get(
        action_id, {}
    )
    return {
        "action.id": action_id,
        "action.group": group,
        **{f"action.{k}": v for k, v in own.items()},
        **share,
    }


def removals(playbook, action_ids, values, action_values, arm=""):
    """Return what removes each action, having asked for all of its treatments."""
    policy = EngagementPolicy(Verdicts(playbook, values, action_values), arm)
    found = {}
    for action_id in action_ids:
        action = playbook.actions[action_id]
        [removal] = {
            policy.removal(
                playbook.rules.concerning(action_id, action, treatment_id, treatment),
                action_id,
                treatment_id,
                ignores_arms=False,
            )
            for treatment_id, treatment in action.treatments.items()
        }
        if removal is not None:
            found[action_id] = removal
    return found


def verdicts(folder, when, values, action_ids=tuple(ACTIONS), **scope):
    playbook = write(folder, [("eligibility", when, scope)])
    return removals(playbook, action_ids, values, of_action)


def test_a_true_rule_keeps_and_a_false_one_removes(tmp_path):
    assert verdicts(tmp_path, "profile.age >= 18", {"profile.age": 18}) == {}
    removed = verdicts(tmp_path, "profile.age >= 18", {"profile.age": 17})
    assert set(removed) == set(ACTIONS)
    [removal] = set(removed.values())
    assert (removal.stage, removal.rule, removal.text) == ("eligibility", "r0", "Rule 0.")
    assert removal.condition.text == "profile.age >= 18"


def test_a_missing_value_removes_and_is_named(tmp_path):
    [removal] = set(verdicts(tmp_path, "profile.age >= 18", {}).values())
    assert removal.text == "Rule 0. (missing: profile.age)"


def test_an_error_removes_and_is_told(tmp_path):
    [removal] = set(verdicts(tmp_path, "1 / profile.age > 0", {"profile.age": 0}).values())
    assert removal.text == "Rule 0. (the rule failed: INVALID_ARGUMENT: divide by zero)"


def test_a_value_of_another_type_than_declared_removes(tmp_path):
    [removal] = set(verdicts(tmp_path, "profile.age >= 18", {"profile.age": "thirty"}).values())
    assert "the rule failed" in removal.text


def test_a_rule_that_reads_the_action_is_decided_for_each(tmp_path):
    removed = verdicts(tmp_path, "action.discount > 0.3", {})
    assert sorted(removed) == ["recall", "spring"]
    assert removed["spring"].text == "Rule 0."
    assert removed["recall"].text == "Rule 0. (missing: action.discount)"


def test_a_candidate_feature_differs_from_action_to_action(tmp_path):
    assert sorted(verdicts(tmp_path, "feature.category_share > 0.5", {})) == ["recall", "summer"]


@pytest.mark.parametrize(
    ("scope", "removed"),
    [
        ({}, {"spring", "summer", "recall"}),
        ({"groups": ["offers"]}, {"spring", "summer"}),
        ({"actions": ["recall"]}, {"recall"}),
        ({"groups": ["notices"], "actions": ["spring"]}, {"recall", "spring"}),
    ],
)
def test_a_rule_concerns_the_actions_and_groups_of_its_scope(tmp_path, scope, removed):
    assert set(verdicts(tmp_path, "false", {}, **scope)) == removed


def test_the_first_rule_in_the_order_of_the_stages_is_told(tmp_path):
    playbook = write(
        tmp_path,
        [
            ("suitability", "false", {}),
            ("applicability", "false", {"actions": ["recall"]}),
            ("eligibility", "true", {}),
        ],
    )
    removed = removals(playbook, list(ACTIONS), {}, of_action)
    assert {name: (removal.stage, removal.rule) for name, removal in removed.items()} == {
        "spring": ("suitability", "r0"),
        "summer": ("suitability", "r0"),
        "recall": ("applicability", "r1"),
    }


@pytest.mark.parametrize("profile", [{}, {"profile.age": 0}, {"profile.age": 1}])
def test_a_suppression_suppresses_unless_it_is_false(tmp_path, profile):
    """Missing, failed and true suppress alike."""
    playbook = write(tmp_path, [("suppression", "1 / profile.age > 0", {})])
    assert set(removals(playbook, list(ACTIONS), profile, of_action)) == set(ACTIONS)
    assert removals(playbook, list(ACTIONS), {"profile.age": 2}, of_action) == {}


def test_an_unscoped_suppression_spares_what_has_to_be_said(tmp_path):
    rule = {"name": "hush", "text": "Hush.", "when": "true"}
    playbook = load_playbook(tmp_path, ("policies", {"suppression": [rule]}))
    assert set(removals(playbook, ["sale", "recall"], {}, lambda _: {})) == {"sale"}
    named = rule | {"applies_to": {"actions": ["recall"]}}
    playbook = load_playbook(tmp_path / "named", ("policies", {"suppression": [named]}))
    assert set(removals(playbook, ["sale", "recall"], {}, lambda _: {})) == {"recall"}


@pytest.mark.parametrize(
    ("scope", "concerned"),
    [
        ({"treatments": ["sale/note"]}, {("sale", "note")}),
        ({"channels": ["email"]}, {("sale", "mail"), ("recall", "mail")}),
        ({"groups": ["offers"], "channels": ["email"]}, {("sale", "mail")}),
        ({"purposes": ["service"]}, {("recall", "mail")}),
        ({"classes": ["mandatory"]}, {("recall", "mail")}),
        ({"actions": ["recall"], "treatments": ["sale/note"]}, {("recall", "mail"), ("sale", "note")}),
        ({"actions": ["recall"], "channels": ["push"]}, set()),
    ],
)
def test_a_scope_reaches_down_to_treatments(tmp_path, scope, concerned):
    rule = {"name": "never", "text": "Never.", "when": "false", "applies_to": scope}
    playbook = load_playbook(tmp_path, ("policies", {"eligibility": [rule]}))
    policy = EngagementPolicy(Verdicts(playbook, {}, lambda _: {}))
    removed = {
        (action_id, treatment_id)
        for action_id, action, treatment_id, treatment in playbook.treatments()
        if policy.removal(
            playbook.rules.concerning(action_id, action, treatment_id, treatment),
            action_id,
            treatment_id,
            ignores_arms=False,
        )
    }
    assert removed == concerned


def test_a_rule_that_reads_the_treatment_is_decided_for_each(tmp_path):
    rule = {"name": "by_mail", "text": "By mail.", "when": "treatment.channel == 'email'"}
    playbook = load_playbook(tmp_path, ("policies", {"suitability": [rule]}))
    policy = EngagementPolicy(Verdicts(playbook, {}, lambda _: {}))
    sale = playbook.actions["sale"]
    removed = [
        policy.removal(
            playbook.rules.concerning("sale", sale, name, sale.treatments[name]),
            "sale",
            name,
            ignores_arms=False,
        )
        for name in ("mail", "note")
    ]
    assert removed[0] is None
    assert removed[1].rule == "by_mail"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("protective", [False, True])
def test_an_arm_relaxes_unprotective_applicability_and_suitability_only(tmp_path, stage, protective):
    rule = {"name": "r0", "text": "No.", "when": "true" if stage == "suppression" else "false"}
    if stage != "suppression":
        rule["protective"] = protective
    playbook = load_playbook(tmp_path, ("policies", {stage: [rule]}))
    kept = "sale" not in removals(playbook, ["sale"], {}, lambda _: {}, arm="eligibility_only")
    assert kept is (stage in ("applicability", "suitability") and not protective)
    assert "sale" in removals(playbook, ["sale"], {}, lambda _: {}, arm="no_levers")


def test_without_rules_or_actions_nothing_is_removed(tmp_path):
    assert verdicts(tmp_path / "none", "false", {}, []) == {}
    assert removals(write(tmp_path / "free", []), list(ACTIONS), {}, of_action) == {}


def test_the_values_of_an_action_are_asked_for_once_and_only_where_a_rule_reads_it(tmp_path):
    rules = [("eligibility", "action.discount > 0.0 || true", {"groups": ["offers"]})]
    rules += [("suitability", "known.action.season", {"actions": ["spring"]})]
    asked = []

    def asking(action_id):
        asked.append(action_id)
        return of_action(action_id)

    removals(write(tmp_path, rules), list(ACTIONS), {}, asking)
    assert asked == ["spring", "summer"]


def test_an_action_of_another_playbook_is_an_error(shop):
    with pytest.raises(KeyError):
        removals(shop, ["nowhere"], {}, dict)


RULES = st.lists(
    st.tuples(st.sampled_from(STAGES), st.sampled_from(EXPRESSIONS), st.sampled_from(SCOPES)), max_size=6
)
WORLDS = [
    {
        name: value
        for name, value in zip(("profile.age", "profile.member", "feature.gifts"), values, strict=True)
        if value is not None
    }
    for values in itertools.product((None, 0, 30), (None, False, True), (None, 0.0, 2.0))
]


@settings(max_examples=40)
@given(RULES, st.permutations(list(ACTIONS)))
def test_removals_agree_with_each_rule_evaluated_alone(tmp_path_factory, rules, action_ids):
    playbook = write(tmp_path_factory.mktemp("rules"), rules)
    names = [name for known in ("", "known.") for name in (known + n for n in playbook.environment.variables)]
    for world in WORLDS:
        expected = {}
        for action_id in action_ids:
            activation = playbook.environment.activation(world | of_action(action_id), names)
            for stage, (number, (its_stage, when, scope)) in itertools.product(STAGES, enumerate(rules)):
                concerned = not scope or (
                    action_id in scope.get("actions", ()) or ACTIONS[action_id][0] in scope.get("groups", ())
                )
                if its_stage != stage or not concerned or action_id in expected:
                    continue
                kept = stage != "suppression"
                if playbook.environment.compile(when).evaluate(activation) is not kept:
                    expected[action_id] = (stage, f"r{number}")
        found = removals(playbook, action_ids, world, of_action)
        assert {name: (removal.stage, removal.rule) for name, removal in found.items()} == expected
