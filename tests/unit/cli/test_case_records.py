"""Paths into the log record find what stands there, and are refused where nothing can."""

import pytest
from tact.log.v1.decision_record_pb2 import CandidateRecord, DecisionRecord

from services.cli.cases import records

DATA = {
    "candidates": [
        {"action_id": "sale", "treatment_id": "mail", "propensity": 0.5},
        {"action_id": "sale", "treatment_id": "note"},
    ],
    "profile": {"attributes": {"age": {"value": 30.0}}, "consents": [{"purpose": "care", "channel": ""}]},
    "response": {"reasons": [{"code": "PRIOR"}], "content": {"headline": "Sale"}},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("candidates[sale/mail].propensity", 0.5),
        ("candidates[sale].treatment_id", "mail"),
        ("candidates[1].treatment_id", "note"),
        ("candidates[2].treatment_id", None),
        ("candidates[sale/note].propensity", None),
        ("candidates[recall].propensity", None),
        ("profile.attributes[age].value", 30.0),
        ("profile.attributes[name].value", None),
        ("profile.consents[care/].channel", ""),
        ("response.reasons[PRIOR].code", "PRIOR"),
        ("response.content[headline]", "Sale"),
        ("response.content[headline].more", None),
        ("request.actor.id", None),
    ],
)
def test_a_path_finds_what_stands_there(path, found):
    assert records.find(DATA, path) == found


@pytest.mark.parametrize(
    "path",
    [
        "control_arm_share",
        "candidates[sale/mail].propensity",
        "candidates",
        "profile.attributes[age].value",
        "profile.consents[care/mail].state",
        "response.actions[0].content[headline]",
        "response.explanation.candidates[sale/mail].reads[profile.age].source",
        "request.decision_time",
    ],
)
def test_a_path_that_a_record_can_have_is_taken(path):
    records.check_path(path)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        *((path, "is no path such as") for path in ("", "a..b", "a b", "a.", ".a", "a[", "a[]", "a[b]c")),
        ("candidats[sale].propensity", 'unknown field "candidats"; did you mean "candidates"'),
        ("candidates[sale].propensty", 'unknown field "propensty"; did you mean "propensity"'),
        ("candidates.propensity", "nothing lies below a value"),
        ("request.decision_time.seconds", "nothing lies below a value"),
        ("response.actions[0].content[headline].text", "nothing lies below a value"),
        ("control_arm_share[0]", "is no list"),
    ],
)
def test_a_path_that_no_record_can_have_is_refused(path, told):
    with pytest.raises(ValueError, match=told):
        records.check_path(path)


def test_what_is_always_there_is_there_where_it_is_zero_and_the_rest_only_where_it_is_set():
    record = DecisionRecord(candidates=[CandidateRecord(action_id="sale", priority=0.0)])
    data = records.as_json(record.SerializeToString())
    assert records.find(data, "control_arm_share") == 0
    assert records.find(data, "candidates[sale].priority") == 0
    assert records.find(data, "candidates[sale].propensity") is None
    assert records.find(data, "profile.attributes[age]") is None
