"""Two messages are compared field by field, and what differs is told in words."""

import math
import struct

import pytest
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb

from services.gateway.adapters.differences import differences


def told(recorded, replayed, tolerance=0.0, **options):
    return [
        (one.field, one.recorded, one.replayed)
        for one in differences(recorded, replayed, tolerance, **options)
    ]


def answer(**fields):
    return pb.DecideResponse(**fields)


def action(**fields):
    return answer(actions=[pb.RankedAction(rank=1), pb.RankedAction(rank=2, **fields)])


def candidate(*numbers):
    vector = struct.pack(f"<{len(numbers)}d", *numbers)
    return log_pb.DecisionRecord(candidates=[log_pb.CandidateRecord(candidate_vector=vector)])


@pytest.mark.parametrize(
    ("recorded", "replayed", "expected"),
    [
        (answer(customer_id="a"), answer(customer_id="b"), ("customer_id", "a", "b")),
        (answer(), answer(control_arm="hold_out"), ("control_arm", "", "hold_out")),
        (answer(as_of_sequence=7), answer(as_of_sequence=8), ("as_of_sequence", "7", "8")),
        (
            answer(served_by="SERVED_BY_MODEL"),
            answer(served_by="SERVED_BY_PRIORS"),
            ("served_by", "SERVED_BY_MODEL", "SERVED_BY_PRIORS"),
        ),
        (answer(served_by=99), answer(), ("served_by", "99", "SERVED_BY_UNSPECIFIED")),
        (
            action(priority=1.5),
            action(priority=0.1 + 0.2),
            ("actions[1].priority", "1.5", "0.30000000000000004"),
        ),
        (action(priority=0.0), action(), ("actions[1].priority", "0.0", "")),
        (action(priority=0.0), action(priority=-0.0), ("actions[1].priority", "0.0", "-0.0")),
        (
            action(content={"a": "x", "b": "y"}),
            action(content={"a": "x", "b": "z"}),
            ("actions[1].content[b]", "y", "z"),
        ),
        (action(content={"a": "x"}), action(), ("actions[1].content[a]", "x", "")),
        (
            action(value=pb.Money(micros=1, currency="EUR")),
            action(value=pb.Money(micros=2, currency="EUR")),
            ("actions[1].value.micros", "1", "2"),
        ),
        (
            action(expire_time=Timestamp(seconds=1_700_000_000, nanos=1_000)),
            action(),
            ("actions[1].expire_time", '"2023-11-14T22:13:20.000001Z"', ""),
        ),
        (
            answer(actions=[pb.RankedAction(rank=1, action_id="tent")]),
            answer(),
            ("actions[0]", '{"rank": 1, "action_id": "tent"}', ""),
        ),
        (
            pb.ValueTrace(name="profile.age", value=Value(number_value=18)),
            pb.ValueTrace(name="profile.age", value=Value(string_value="18")),
            ("value", "18.0", '"18"'),
        ),
        (pb.ValueTrace(withheld=True), pb.ValueTrace(), ("withheld", "true", "false")),
        (
            candidate(1.0, math.nan, 3.0),
            candidate(1.0, math.nan, 4.0),
            ("candidates[0].candidate_vector[2]", "3.0", "4.0"),
        ),
        (candidate(math.nan), candidate(0.0), ("candidates[0].candidate_vector[0]", "nan", "0.0")),
        (candidate(1.0), candidate(), ("candidates[0].candidate_vector", "a vector of 1", "a vector of 0")),
        (
            log_pb.DecisionRecord(digest=b"abc"),
            log_pb.DecisionRecord(digest=b"abd"),
            ("digest", "3 bytes", "3 bytes"),
        ),
    ],
    ids=lambda case: case[0] if isinstance(case, tuple) else "",
)
def test_a_difference_names_its_field_and_both_values(recorded, replayed, expected):
    assert told(recorded, replayed) == [expected]
    field, before, now = expected
    assert told(replayed, recorded) == [(field, now, before)]


def test_differences_come_in_the_order_of_the_fields():
    recorded = answer(control_arm="a", customer_id="b", actions=[pb.RankedAction(rank=1)])
    assert [field for field, _, _ in told(recorded, answer())] == ["customer_id", "actions[0]", "control_arm"]


def test_fields_can_be_left_out():
    assert told(answer(control_arm="a", customer_id="b"), answer(), without=("customer_id",)) == [
        ("control_arm", "a", "")
    ]


def test_a_long_value_is_shortened():
    ((_, before, _),) = told(answer(customer_id="a" * 1_000), answer())
    assert before == "a" * 200 + "..."


def test_a_time_that_no_calendar_holds_is_told_all_the_same():
    ((field, before, _),) = told(answer(decision_time=Timestamp(seconds=10**15)), answer())
    assert (field, before) == ("decision_time", "seconds: 1000000000000000")


@given(st.floats(), st.floats())
def test_numbers_are_the_same_by_their_bits(one, other):
    is_same = struct.pack("<d", one) == struct.pack("<d", other)
    assert (told(action(priority=one), action(priority=other)) == []) is is_same
    assert (told(candidate(one), candidate(other)) == []) is is_same


@given(st.floats(-1e3, 1e3), st.floats(-1e-8, 1e-8))
def test_numbers_may_differ_by_a_tolerance_but_vectors_may_not(number, change):
    other = number + change
    is_near = abs(number - other) <= 1e-9
    assert (told(action(priority=number), action(priority=other), 1e-9) == []) is (is_near)
    assert (told(candidate(number), candidate(other), 1e-9) == []) is (
        struct.pack("<d", number) == struct.pack("<d", other)
    )


def test_nan_is_near_nothing_but_itself():
    assert told(action(priority=math.nan), action(priority=math.nan), 1e-9) == []
    assert told(action(priority=math.nan), action(priority=0.0), 1e-9) != []
