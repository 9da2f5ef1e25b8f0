"""How the report on control arms reads."""

from dataclasses import replace

import pytest

from services.cli.arms.figures import as_json
from services.cli.arms.report import Question, Report
from services.cli.arms.telling import WIDTH, as_text, sentences
from training.data.aftermath import Aftermath
from training.data.decided import Decided
from training.evaluation.arms import Arm, Measured, Split
from training.evaluation.intervals import Estimate

DECIDED = Decided(
    decision_id="d",
    customer_id="anna",
    time=0,
    playbook_version="v",
    arm="",
    arm_share=0.0,
    candidates=frozenset(),
    offered=(),
)
FAIR = Split(expected=0.1, observed=0.11, p_value=0.4)


def arm(name="no_levers", low=-0.27, high=0.03, **changes):
    difference = Estimate(value=-0.12, low=low, high=high)
    values = {
        "customers": 1_234,
        "decisions": 5_000,
        "answered": 4_000,
        "reported": {"VIEWED": 20},
        "split": FAIR,
        "succeeded": 100,
        "success": Estimate(value=0.081, low=0.067, high=0.0975),
        "value": Estimate(value=1.5, low=1.25, high=1.75),
        "measures": {"effort": Measured(customers=7, mean=Estimate(value=2.0))},
        "success_difference": Estimate(value=-0.01, low=-0.03, high=0.011),
        "value_difference": difference,
    }
    return Arm(name=name, **(values | changes))


PLAIN = arm("", success_difference=None, value_difference=None)


def report(*arms, **changes):
    aftermath = Aftermath(
        customers=[], decisions=[DECIDED], nobody=3, open=4, moved=0, by_report={}, by_event={}
    )
    values = {
        "question": Question(),
        "playbook": "shop",
        "version": "v" * 64,
        "currency": "EUR",
        "since": 0,
        "until": 86_400_000_000,
        "earlier": 0,
        "damaged": 0,
        "aftermath": replace(aftermath, **changes.pop("aftermath", {})),
        "arms": [PLAIN, *arms],
        "changed": [],
        "lacking": 0,
        "is_linked": True,
    }
    return Report(**(values | changes))


def sentence(one):
    (found,) = sentences(report(one))
    return found


def test_a_layer_is_worth_what_its_arm_lacks():
    assert sentence(arm()) == (
        "Levers: +0.12 EUR a customer (95 % -0.03 to +0.27): cannot be told from zero yet. "
        "Customers with a success: +1.0 points (95 % -1.1 to +3.0)."
    )


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"low": -0.3, "high": -0.1}, "it brings more than it costs"),
        ({"low": 0.1, "high": 0.3}, "it costs more than it brings"),
        ({"low": -0.3, "high": -0.1, "is_thin": True}, "too few successes to tell yet"),
        ({"low": None, "high": None}, "too few successes to tell yet"),
        (
            {"split": Split(expected=0.1, observed=0.2, p_value=1e-9)},
            "not to be trusted, as the split is broken",
        ),
    ],
)
def test_the_verdict_follows_the_interval(changes, verdict):
    assert f": {verdict}. " in sentence(arm(**changes))


def test_an_arm_without_customers_tells_nothing():
    empty = arm(customers=0, value_difference=None, success_difference=None)
    assert sentence(empty) == "Levers: nobody to tell by yet."


def test_an_arm_of_another_release_is_told_by_its_name():
    assert sentence(arm("no_rules")).startswith("What no_rules lacks: +0.12 EUR")


def test_small_amounts_are_told_with_more_decimals():
    small = Estimate(value=-0.00012, low=-0.00027, high=0.00003)
    assert "+0.00012 EUR a customer (95 % -0.00003 to +0.00027)" in sentence(arm(value_difference=small))


def test_the_text_is_aligned_and_no_wider_than_a_page():
    text = as_text(report(arm(), arm("hold_out", is_thin=True)))
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    start = lines.index(next(line for line in lines if line.lstrip().startswith("customers")))
    block = lines[start : start + 4]
    assert len({len(line) for line in block}) == 1
    assert block[1].split()[:4] == ["no", "arm", "1,234", "10.00%"]
    assert "hold_out *" in text
    assert "*: too few successes" in text
    assert "by live decisions since 1970-01-01 00:00:00 UTC, as known at 1970-01-02 00:00:00 UTC" in text
    assert "Left out: 3 about nobody known, 4 whose outcome may still come." in text


def test_json_holds_what_the_text_tells():
    made = report(arm())
    plain = as_json(made)
    assert plain["arms"][1]["value_difference"] == {"value": -0.12, "low": -0.27, "high": 0.03}
    assert plain["arms"][1]["split"]["is_broken"] is False
    assert plain["arms"][1]["reported"]["viewed"] == 20
    assert plain["arms"][1]["measures"]["effort"]["mean"] == {"value": 2.0, "low": None, "high": None}
    assert plain["sentences"] == list(sentences(made))
    text = " ".join(as_text(made).split())
    assert all(" ".join(one.split()) in text for one in (*plain["sentences"], *plain["notes"]))


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"aftermath": {"moved": 2}}, "2 customers were in more than one arm"),
        ({"changed": ["hold_out", ""]}, "The shares of hold_out, no arm were changed meanwhile"),
        ({"lacking": 5}, "5 decisions were made by versions"),
        ({"aftermath": {"by_report": {"a": 1}}}, "Successes of a are known by reports alone"),
        ({"aftermath": {"by_report": {"a": 1}}}, "--within 7d waits a week"),
        (
            {"aftermath": {"by_event": dict.fromkeys("gfedcba", 2)}},
            "14 acceptances reported of a, b, c, d, e and 2 more are no successes",
        ),
        ({"question": Question(live=False)}, "Dry runs reach nobody"),
        ({}, "Mandatory and transactional actions ignore arms"),
    ],
)
def test_what_weakens_the_report_is_told(changes, note):
    assert any(note in one for one in as_json(report(arm(), **changes))["notes"])


def test_nothing_is_told_that_is_not_so():
    made = report(arm(), question=Question(every=True))
    assert as_json(made)["notes"] == []
