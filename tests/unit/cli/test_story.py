"""The story of a decision is told in short lines, whatever is missing from it."""

import doctest
import textwrap

from google.protobuf.json_format import ParseDict
from tact.decision.v1 import decision_service_pb2 as pb

from services.cli import wording
from services.cli.story import MOST_CONTRIBUTIONS, story

EUR = "EUR"


def told(**fields):
    """Write a story as its JSON."""
    return ParseDict(fields, pb.ExplainDecisionResponse())


def money(units):
    return {"micros": int(units * 1e6), "currency": EUR}


def candidate(action_id, treatment_id="message", **fields):
    trace = {"action_id": action_id, "treatment_id": treatment_id, "channel": "email"}
    if "priority" in fields:
        trace |= {"propensity": 0.5, "value": money(4), "cost": money(0.5)}
    return trace | fields


WHOLE = told(
    request={
        "customer": {"identity": {"kind": "card", "value": "SECRET"}},
        "actor": {"id": "agent-7", "device": "desktop"},
        "context": {"placement": "home", "device": "phone", "attributes": {"in_store": True, "items": 3}},
        "mode": "DECISION_MODE_DRY_RUN",
    },
    response={
        "decision_id": "d-1",
        "customer_id": "anna",
        "playbook_version": "0123456789abcdef",
        "feature_set_version": "fedcba9876543210",
        "model_version": "7",
        "served_by": "SERVED_BY_LAST_GOOD_FEATURES",
        "degradations": [
            {
                "source": "DEGRADATION_SOURCE_FEATURES",
                "cause": "DEGRADATION_CAUSE_TIMEOUT",
                "detail": "no answer in time",
            }
        ],
        "decision_time": "2025-05-14T09:30:00Z",
        "control_arm": "no_levers",
        "actions": [
            {
                "rank": 1,
                "action_id": "bread",
                "treatment_id": "letter",
                "channel": "mail",
                "device": "desktop",
                "recipient": "RECIPIENT_CUSTOMER",
                "not_before_time": "2025-05-15T06:00:00Z",
                "expire_time": "2025-05-16T22:00:00Z",
                "selection_probability": 0.625,
                "reasons": [{"code": "WHY", "text": "You like bread."}],
            }
        ],
        "explanation": {
            "time_zone": "Europe/Paris",
            "time_zone_source": "profile",
            "control_arm_share": 0.05,
            "candidates": [
                candidate("wine", removed_stage="consent", removed_rule="refused", removed_text="Refused."),
                candidate(
                    "bread",
                    "letter",
                    rank=1,
                    priority=1.5,
                    rank_one_probability=0.625,
                    moved_by=["night"],
                    factors=[
                        {
                            "kind": "weight",
                            "name": "loyal",
                            "text": "Loyal ones first.",
                            "factor": 1.5,
                            "reads": [
                                {"name": "profile.tier", "value": "gold", "source": "crm", "age": "259200s"},
                                {"name": "feature.orders", "value": 6},
                            ],
                        },
                        {"kind": "measure", "name": "effort", "text": "It takes effort.", "factor": -0.25},
                    ],
                ),
                candidate("bread", "note", priority=2.25),
                candidate(
                    "milk",
                    removed_stage="eligibility",
                    removed_rule="of_age",
                    removed_text="Milk is for children.",
                    reads=[
                        {"name": "profile.age"},
                        {"name": "context.rumour", "withheld": True},
                        {"name": "context.in_store", "value": True},
                    ],
                ),
                candidate(
                    "wine", "letter", removed_stage="consent", removed_rule="refused", removed_text="Refused."
                ),
                {"action_id": "do_nothing", "priority": 0.1, "rank_one_probability": 0.375},
            ],
            "features": [
                {"name": "orders", "value": 6.0, "age": "3700s"},
                {"name": "visits"},
            ],
            "nearest_change": {
                "action_id": "milk",
                "treatment_id": "message",
                "lever": 1.25,
                "value": money(12),
            },
        },
    },
    contributions=[
        {
            "action_id": "bread",
            "contributions": [
                {"feature": "orders", "value": 6.0, "contribution": 0.75},
                {"feature": "visits", "contribution": -0.5},
            ],
        }
    ],
    outcomes=[
        {
            "outcome_id": "o-1",
            "rank": 1,
            "kind": "OUTCOME_KIND_VIEWED",
            "outcome_time": "2025-05-15T07:00:00Z",
            "measures": {"effort": 3, "delight": 0.25},
        }
    ],
)

LINES = """\
    Decision d-1, dry run
      customer  anna, known by card
      actor     agent-7, desktop
      time      2025-05-14 11:30:00 Europe/Paris, the zone of the profile
      context   home, phone, in_store true, items 3
      playbook  0123456789ab
      features  fedcba987654
      made by   last good features (version 7)
      without   features (timeout: no answer in time)
      arm       no_levers (5.0% of customers)

    Chosen
      1. bread/letter by mail on desktop to the customer
         from 2025-05-15 08:00:00 Europe/Paris until 2025-05-17 00:00:00 Europe/Paris
         with a probability of 62.5%
         - You like bread.

    Compared
      bread/note: 2.2500, chance 50.00%, value 4.00 EUR, cost 0.50 EUR; not chosen
      bread/letter: 1.5000, chance 50.00%, value 4.00 EUR, cost 0.50 EUR; rank 1; first with a
        probability of 62.5%; later because of night
        x 1.5 weight loyal: Loyal ones first.
          profile.tier = gold (from crm, 3 days old)
          feature.orders = 6 (1 hour old)
        - 0.25 measure effort: It takes effort.
      do_nothing: 0.1000, the least that an action must exceed; first with a probability of 37.5%

    Removed
      eligibility, of_age: Milk is for children.
        profile.age is missing
        context.rumour is borrowed, so it was not logged
        context.in_store = true
        milk/message
      consent, refused: Refused.
        wine/message, wine/letter

    Nearest change
      milk/message would have come first with its levers x 1.25 or a value of 12.00 EUR.

    Features
      orders = 6 (1 hour old)
      visits is missing

    Contributions to the scores, in log-odds
      bread
        +0.7500 orders = 6
        -0.5000 visits

    Outcomes
      rank 1 viewed at 2025-05-15 09:00:00 Europe/Paris, delight 0.25, effort 3
"""


def test_a_whole_story_is_told():
    assert story(WHOLE, 98) == textwrap.dedent(LINES)


def test_the_least_story_is_told():
    silent = told(
        response={
            "decision_id": "d-2",
            "served_by": "SERVED_BY_MODEL",
            "reasons": [{"code": "UNKNOWN_CUSTOMER", "text": "This customer is not on file."}],
            "explanation": {"candidates": [{"action_id": "do_nothing", "priority": 0.0}]},
        }
    )
    assert story(silent, 80) == textwrap.dedent(
        """\
        Decision d-2, live
          customer  unknown
          time      1970-01-01 00:00:00 UTC
          made by   model

        Left alone
          - This customer is not on file.
        """
    )


def test_what_cannot_be_had_is_said():
    lacking = told(
        response={"explanation": {"nearest_change": {"action_id": "milk", "treatment_id": "letter"}}},
        contributions_missing="Scoring did not help: no answer in time.",
    )
    text = story(lacking, 80)
    assert "milk/letter would have come first with no change of lever or value alone." in text
    assert "  Scoring did not help: no answer in time." in text


def test_what_weighs_least_is_told_together():
    many = [{"feature": f"f{number}", "contribution": 0.5} for number in range(MOST_CONTRIBUTIONS + 3)]
    lines = story(told(contributions=[{"action_id": "bread", "contributions": many}]), 80).splitlines()
    assert lines[-1] == "    +1.5000 3 others together"
    assert len(lines[lines.index("  bread") :]) == MOST_CONTRIBUTIONS + 2


def test_a_stage_to_come_is_told_last():
    later = told(
        response={
            "explanation": {
                "candidates": [
                    candidate("wine", removed_stage="caps", removed_rule="weekly", removed_text="Enough."),
                    candidate(
                        "milk", removed_stage="arbitration", removed_rule="chance", removed_text="Less"
                    ),
                ]
            }
        }
    )
    text = story(later, 80)
    assert text.index("arbitration, chance: Less") < text.index("caps, weekly: Enough.")


def test_no_line_is_longer_than_the_terminal_is_wide():
    lines = story(WHOLE, 60).splitlines()
    assert max(map(len, lines)) <= 60


def test_an_override_tells_who_did_what_instead():
    overrides = [
        {"kind": "OUTCOME_KIND_OVERRIDDEN", "rank": 1, "instead_action_id": "tea", "actor_id": "agent-7"},
        {"kind": "OUTCOME_KIND_OVERRIDDEN"},
    ]
    lines = story(told(outcomes=overrides), 200).splitlines()
    assert lines[-2].endswith(" by agent-7, who did tea instead")
    assert lines[-1].endswith(" by nobody named, who did nothing instead")


def test_an_identity_is_named_by_its_kind_only():
    assert "SECRET" not in story(WHOLE, 98)


def test_words_of_a_newer_gateway_are_told_as_they_came():
    newer = told(
        response={
            "actions": [{"rank": 1, "recipient": 9}],
            "degradations": [{"source": 9, "cause": 9}],
            "served_by": 9,
            "explanation": {"time_zone": "Moon/Tycho"},
        },
        outcomes=[{"rank": 1, "kind": 9}],
    )
    text = story(newer, 80)
    assert "made by   9" in text
    assert "rank 1 9 at 1970-01-01 00:00:00 UTC" in text


def test_examples_in_docstrings_hold():
    assert doctest.testmod(wording).failed == 0
