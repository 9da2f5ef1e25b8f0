"""What a change of a playbook would have done to decisions on record."""

from collections import Counter

import numpy as np
import pytest
from differing import (
    OFFERS,
    STALL,
    Part,
    best_of,
    diff,
    edition,
    logged,
    rule,
    rules,
    told,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tact.decision.v1 import decision_service_pb2 as pb

from services.cli.decision_log import Entry
from services.cli.diff.chances import Source

BASE = edition()
HEADS = (
    [],
    [("playbook", "exploration", {"method": "softmax", "temperature": 0.5})],
    [("playbook", "control_arms", {"random_eligible": 0.2, "no_levers": 0.1, "hold_out": 0.1})],
    [
        rules("eligibility", rule("calm", "context.mood < 2")),
        rules("suppression", rule("gossip", "known.profile.rumour && profile.rumour > 3")),
    ],
    [
        (
            "policies",
            "quiet_hours",
            [{"name": "night", "text": "They sleep.", "from": "20:00", "to": "07:00"}],
        )
    ],
)
"""Ways to decide: by exploration, in control arms, by what is borrowed, and at quiet hours."""


@settings(deadline=None, max_examples=15)
@given(
    head=st.sampled_from(HEADS),
    seed=st.integers(0, 1000),
    most=st.integers(1, 3),
    live=st.booleans(),
    faults=st.sets(st.sampled_from(["profiles", "features", "scorer"])),
)
def test_the_same_playbook_answers_as_the_log_and_changes_nothing(head, seed, most, live, faults):
    same = edition(*head)
    log = logged(same, seed=seed, decisions=15, max_actions=most, live=live, faults=faults)
    comparison = diff(log, same, edition(*head))
    assert len(comparison.rows) == 15
    assert all(row.agrees for row in comparison.rows)
    assert all(row.old == row.new and not row.losses for row in comparison.rows)
    assert set(comparison.by_new.sources) <= {Source.RECORDED, Source.UNKNOWN}
    assert not comparison.by_new.lacks
    found = told(comparison)
    assert (found.changed, found.shifted, found.unchanged, found.flows) == (0, 0, 15, [])


def test_a_veto_takes_an_action_from_all_who_had_it_and_gives_them_the_runner_up():
    veto = {"name": "no_cake", "text": "No cake.", "factor": 0, "applies_to": {"actions": ["cake"]}}
    log = logged(BASE, decisions=120)
    comparison = diff(log, BASE, edition(rules("levers", veto)))
    expected = [(best_of(record), best_of(record, ["cake"])) for record in log.records]
    assert [(row.old.first, row.new.first) for row in comparison.rows] == expected
    found = told(comparison)
    flows = Counter(flow for flow in expected if flow[0] != flow[1])
    assert dict(found.flows) == flows
    assert len(flows) == 3
    assert found.first["cake"].lost == found.first["cake"].old == flows.total() > 10
    assert found.first["cake"].new == found.first["cake"].gained == 0
    assert found.first["bread"].gained == flows["cake", "bread"]
    assert found.losses == [(("veto", "no_cake", "No cake."), flows.total())]
    assert found.no_action.old == sum(old == "do_nothing" for old, _ in expected) / 120
    assert found.no_action.new == sum(new == "do_nothing" for _, new in expected) / 120


def test_a_new_rule_takes_from_those_that_it_is_about():
    new = edition(
        rules(
            "eligibility", rule("not_north", 'profile.region != "north"', applies_to={"groups": ["offers"]})
        )
    )
    comparison = diff(logged(BASE, decisions=80), BASE, new, by=["profile.region"])
    north = [row for row in comparison.rows if row.segments == ("north",)]
    others = [row for row in comparison.rows if row.segments != ("north",)]
    assert {row.segments for row in others} == {("south",), (None,)}
    assert all(row.old == row.new for row in others)
    assert all(not row.new.picks and row.new.choices == 0 for row in north)
    assert told(comparison, north).losses == [
        (("eligibility", "not_north", "Because of not_north."), sum(bool(row.old.picks) for row in north))
    ]


def test_choices_and_ranks_are_counted():
    log = logged(BASE, decisions=80, max_actions=3)
    gone = edition(("actions", "actions", "tea", ...), ("policies", "eligibility", []))
    found = told(diff(log, BASE, gone))
    arbitrated = [
        sum(bool(one.treatment_id) and not one.removed_stage for one in record.candidates)
        for record in log.records
    ]
    without = [
        sum(
            bool(one.treatment_id) and not one.removed_stage and one.action_id != "tea"
            for one in record.candidates
        )
        for record in log.records
    ]
    assert found.choices == (sum(arbitrated) / 80, pytest.approx(sum(without) / 80))
    offered = Counter(action.action_id for record in log.records for action in record.response.actions)
    for action_id in OFFERS:
        assert found.ranked[action_id].old == offered[action_id]
    assert found.ranked["tea"].lost == offered["tea"] > 0
    assert found.ranked["bread"].lost == 0
    assert found.losses == [(("candidates", "gone", "The playbook does not have it."), offered["tea"])]


def test_the_expected_value_is_chance_times_value_less_cost():
    log = logged(BASE, decisions=50, max_actions=3)
    worth = [
        sum(one.propensity * one.value.micros - one.cost.micros for one in record.response.actions) / 1e6
        for record in log.records
    ]
    found = told(diff(log, BASE, edition(("actions", "actions", "cake", "value", 12))))
    assert found.worth.old == pytest.approx(sum(worth) / 50)
    assert found.worth.new > found.worth_as_before
    assert found.worth.new > found.worth.old


def test_a_new_action_is_scored_by_the_base_rate_of_its_group():
    juice = {
        "group": "offers",
        "purpose": "marketing",
        "value": 9,
        "treatments": {"letter": {"channel": "email", "cost": 0.5, "content": {"headline": "Juice"}}},
    }
    log = logged(BASE, decisions=80)
    comparison = diff(
        log, BASE, edition(("actions", "actions", "juice", juice), ("policies", "suitability", []))
    )
    scored = comparison.by_new.sources
    assert scored[Source.BASE_RATE] > 40
    for row, record in zip(comparison.rows, log.records, strict=True):
        if row.new.first == "juice" and row.old.choices:
            assert row.new.picks[0].propensity == 0.2
            assert all(one.priority <= 0.2 * 9 - 0.5 for one in record.candidates if not one.removed_stage)
    assert told(comparison).first["juice"].gained > 10


def test_what_has_no_base_rate_is_scored_by_a_mean_of_the_log():
    advice = {
        "group": "advice",
        "purpose": "marketing",
        "value": 9,
        "treatments": {"letter": {"channel": "email", "content": {"headline": "Advice"}}},
    }
    log = logged(BASE, decisions=40)
    scores = [
        score
        for record in log.records
        for score in {
            one.action_id: one.propensity for one in record.candidates if one.HasField("propensity")
        }.values()
    ]
    comparison = diff(
        log, BASE, edition(("actions", "actions", "advice", advice), ("policies", "suitability", []))
    )
    chosen = [row.new.picks[0] for row in comparison.rows if row.new.first == "advice"]
    assert [pick.propensity for pick in chosen] == pytest.approx([sum(scores) / len(scores)] * len(chosen))
    assert comparison.by_new.sources[Source.MEAN_OF_LOG] >= len(chosen) > 10


def test_a_candidate_that_was_removed_before_scoring_gets_the_score_of_its_group_or_action():
    """Without a base rate in the decision, as where nothing at all was left to score."""
    strict = edition(rules("eligibility", rule("never", "profile.age > 40")))
    log = logged(strict, decisions=60)
    comparison = diff(log, strict, BASE)
    assert comparison.by_new.sources[Source.RECORDED] > 10
    assert comparison.by_new.sources[Source.MEAN_OF_ACTION] > 10
    means = {}
    for action_id in OFFERS:
        found = [
            {one.action_id: one.propensity for one in record.candidates if one.HasField("propensity")}.get(
                action_id
            )
            for record in log.records
        ]
        found = [one for one in found if one is not None]
        means[action_id] = sum(found) / len(found)
    gained = [row.new.picks[0] for row in comparison.rows if row.new.picks and not row.old.choices]
    assert gained
    assert all(pick.propensity == pytest.approx(means[pick.action_id]) for pick in gained)


def test_what_decided_without_any_model_has_no_score_now():
    blind, others = logged(BASE, decisions=20, faults={"scorer"}), logged(BASE, decisions=20, seed=2)
    ids = {one.response.decision_id for one in blind.records if one.response.served_by == pb.SERVED_BY_RULES}
    assert 5 < len(ids) < 20
    new = edition(("policies", "eligibility", []), ("policies", "suitability", []))
    comparison = diff(Part([*blind.entries, *others.entries]), BASE, new)
    assert all(row.agrees for row in comparison.rows)
    assert comparison.by_new.sources[Source.UNKNOWN] >= len(ids)
    assert not any(row.new.picks for row in comparison.rows if row.decision_id in ids)
    assert any(row.new.picks for row in comparison.rows)


def test_scores_of_an_action_that_was_described_otherwise_are_told_apart():
    log = logged(BASE, decisions=30)
    comparison = diff(log, BASE, edition(("actions", "actions", "cake", "attributes", "discount", 0.9)))
    assert comparison.by_new.sources[Source.ALTERED] > 5
    assert comparison.by_new.sources[Source.RECORDED] > 5
    assert not comparison.by_old.sources[Source.ALTERED]


class Oracle:
    """Scores as the stall's model does."""

    def __init__(self):
        self.asked = []

    def scores(self, edition, decision, action_ids):
        self.asked.append(action_ids)
        return dict.fromkeys(action_ids, 0.9)


def test_a_model_is_asked_for_what_the_log_has_no_score_of_and_for_nothing_else():
    strict = edition(
        rules("eligibility", rule("no_cake", "profile.age > 20", applies_to={"actions": ["cake"]}))
    )
    log, oracle = logged(strict, decisions=60), Oracle()
    comparison = diff(log, strict, BASE, scorers=(None, oracle))
    assert {action_id for asked in oracle.asked for action_id in asked} <= {"cake"}
    scored = comparison.by_new.sources
    assert scored[Source.MODEL] + scored[Source.RECORDED] == sum(row.new.choices for row in comparison.rows)
    gained = [row for row in comparison.rows if row.new.first == "cake" != row.old.first]
    assert gained
    assert all(row.new.picks[0].propensity == 0.9 for row in gained)
    assert not set(comparison.by_old.sources) - {Source.RECORDED}


def test_features_are_found_by_name_in_another_layout():
    more = {
        "aaa": {"kind": "count", "event": "order", "window": "7d"},
        "zzz": {"kind": "affinity", "event": "order", "by": "kind", "to": "id", "measure": "total"},
    }
    features = {**more, **STALL["features"]["features"]}
    features.pop("spend")
    wider = edition(("features", "features", features))
    assert wider.feature_set.customer_names != BASE.feature_set.customer_names
    comparison = diff(logged(BASE, decisions=60), BASE, wider)
    assert all(row.old == row.new for row in comparison.rows)
    assert not comparison.by_new.lacks


def test_expressions_over_features_on_record_are_computed():
    share = {"kind": "expression", "expression": "feature.spend / feature.visits"}
    best = {"kind": "expression", "expression": "feature.liking * feature.share"}
    changes = ("features", "features", "share", share), ("features", "features", "best", best)
    new = edition(
        *changes,
        rules("suitability", rule("big", "!(feature.share > 2.0)"), rule("hot", "!(feature.best > 3.0)")),
    )
    log = logged(BASE, decisions=120)
    comparison = diff(log, BASE, new)
    assert not comparison.by_new.lacks
    of_customer = [
        row for row, record in zip(comparison.rows, log.records, strict=True) if _share(record) > 2
    ]
    assert of_customer
    assert not any(row.new.picks for row in of_customer)
    rules_met = {loss.rule for row in comparison.rows for loss in row.losses}
    assert {"big", "hot"} <= rules_met


def _share(record):
    numbers = dict(
        zip(BASE.feature_set.customer_names, np.frombuffer(record.feature_vector, "<f8"), strict=False)
    )
    return numbers["spend"] / numbers["visits"] if numbers.get("visits") else 0.0


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        (
            [
                ("features", "features", "fresh", {"kind": "recency", "event": "order"}),
                rules("eligibility", rule("fresh", "feature.fresh < 3.0")),
            ],
            "feature.fresh",
            "not declared then",
        ),
        (
            [
                ("features", "features", "visits", {"kind": "count", "event": "order", "window": "9d"}),
                rules("eligibility", rule("comes", "feature.visits >= 0.0")),
            ],
            "feature.visits",
            "defined otherwise then",
        ),
        (
            [
                ("profile", "attributes", "income", {"type": "integer"}),
                rules("eligibility", rule("rich", "profile.income > 3")),
            ],
            "profile.income",
            "not declared then",
        ),
        (
            [
                ("profile", "attributes", "income", {"type": "integer"}),
                ("features", "features", "income", {"kind": "profile", "attribute": "income"}),
                rules("eligibility", rule("rich", "feature.income > 3.0")),
            ],
            "feature.income",
            "not declared then",
        ),
        (
            [
                ("profile", "attributes", "age", {"type": "string"}),
                ("policies", "eligibility", [rule("old", 'profile.age == "44"')]),
            ],
            "profile.age",
            "its value does not fit any more",
        ),
        (
            [
                ("playbook", "context", "mood", {"type": "integer"}),
                rules("eligibility", rule("calm", "context.mood < 9")),
            ],
            "context.mood",
            "borrowed then, so never logged",
        ),
        (
            [rules("eligibility", rule("calm", "profile.rumour < 9"))],
            "profile.rumour",
            "borrowed, so never logged",
        ),
    ],
)
def test_what_the_log_does_not_hold_is_missing_and_named(changes, name, reason):
    comparison = diff(logged(BASE, decisions=40), BASE, edition(*changes))
    on_file = sum(row.customer_id != "nobody" for row in comparison.rows)
    assert comparison.by_new.lacks[name, reason] == on_file
    assert not any(row.new.picks for row in comparison.rows)
    assert any(row.old.picks for row in comparison.rows)
    assert not comparison.by_old.lacks


def test_consents_that_nobody_was_asked_for_are_named():
    sms = {"channel": "sms", "content": {"headline": "Cake"}}
    new = edition(
        ("playbook", "channels", "sms", {}), ("actions", "actions", "cake", "treatments", {"text": sms})
    )
    comparison = diff(logged(BASE, decisions=30), BASE, new)
    assert ("consent to marketing on sms", "not declared then") in comparison.by_new.lacks
    assert {loss.rule for row in comparison.rows for loss in row.losses} == {"gone"}


def test_candidate_features_of_an_action_that_was_none_then_are_named():
    juice = {**STALL["actions"]["actions"]["bread"], "value": 9}
    log = logged(BASE, decisions=30)
    comparison = diff(log, BASE, edition(("actions", "actions", "juice", juice)))
    assert ("feature.liking of juice", "no candidate then") in comparison.by_new.lacks


def test_borrowed_verdicts_on_record_are_kept():
    old = edition(rules("eligibility", rule("calm", "context.mood < 2")))
    new = edition(
        rules("eligibility", rule("calm", "context.mood < 2")), ("actions", "actions", "cake", "value", 7)
    )
    comparison = diff(logged(old, decisions=60), old, new)
    assert not comparison.by_new.lacks
    assert any(row.new.picks for row in comparison.rows)
    assert all(row.agrees for row in comparison.rows)


def test_a_request_for_actions_that_are_gone_gets_nothing_else():
    gone = edition(("actions", "actions", "tea", ...), ("policies", "eligibility", []))
    rows = diff(logged(BASE, action_ids=["tea"]), BASE, gone).rows
    assert sum(bool(row.old.picks) for row in rows) > 10
    assert not any(row.new.choices or row.new.picks for row in rows)
    rows = diff(logged(BASE, action_ids=["tea", "bread"], max_actions=3), BASE, gone).rows
    assert all(row.agrees for row in rows)
    offered = {action_id for row in rows for action_id in row.new.actions}
    assert offered == {"bread", "do_nothing"}


def test_a_request_that_breaks_the_contract_by_now_is_left_out():
    log = logged(BASE, decisions=10)
    record = log.records[4]
    record.request.max_actions = 1_000
    record.ClearField("digest")
    entries = log.entries
    entries[4] = entries[4]._replace(record=record.SerializeToString())
    comparison = diff(Part(entries), BASE, BASE)
    assert comparison.refused == [entries[4].decision_id]
    assert len(comparison.rows) == 9


def test_names_of_the_context_and_the_profile_that_are_gone_are_left_out():
    log = logged(BASE, decisions=30)
    new = edition(
        ("playbook", "context", ...),
        ("profile", "attributes", "region", ...),
        ("features", "features", "region", ...),
    )
    comparison = diff(log, BASE, new)
    assert all(row.old == row.new for row in comparison.rows)


def test_decisions_of_a_playbook_that_is_not_at_hand_are_told(tmp_path):
    gone = edition(("actions", "actions", "cake", "value", 5))
    comparison = diff(logged(gone, decisions=20), BASE, BASE)
    assert comparison.foreign == {gone.playbook.version: 20}
    assert {row.agrees for row in comparison.rows} == {None}
    assert not comparison.by_new.lacks
    other = edition(("features", "features", "spend", ...))
    lacks = diff(logged(other, decisions=20), BASE, BASE).by_new.lacks
    assert {name for name, _ in lacks} == {"feature.liking", "feature.visits"}


def test_damaged_records_are_left_out_and_named():
    log = logged(BASE, decisions=10)
    entries = list(log.entries)
    broken = bytearray(entries[3].record)
    broken[len(broken) // 2] ^= 1
    damaged = Entry(False, entries[3].decision_id, bytes(broken))
    comparison = diff(Part([*entries[:3], damaged, *entries[4:]]), BASE, BASE)
    assert comparison.damaged == [entries[3].decision_id]
    assert len(comparison.rows) == 9


def test_the_order_of_the_log_does_not_matter():
    log = logged(BASE, decisions=30)
    new = edition(("actions", "actions", "cake", "value", 2))
    assert told(diff(Part(log.entries[::-1]), BASE, new)) == told(diff(log, BASE, new))


def test_the_same_action_at_another_time_or_by_another_treatment_is_no_loss():
    night = {"name": "night", "text": "They sleep.", "from": "00:00", "to": "23:00"}
    found = told(diff(logged(BASE, decisions=60), BASE, edition(("policies", "quiet_hours", [night]))))
    assert found.changed == 0
    assert found.shifted > 20
    assert not found.losses
