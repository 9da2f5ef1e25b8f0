"""Outcomes are recorded once, one by one, and only for what a live decision answered."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from deciding import NOW, Shop, instant
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from tact.decision.v1 import decision_service_pb2 as pb

from services.chassis.faults import Fault
from services.gateway.ports import NotLogged

REASONS = {1: "REQUEST_INVALID", 3: "IDENTIFIER_REUSED", 11: "DECISION_UNKNOWN"}


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def decision(shop):
    return shop.decide(request_id="a-1")


def outcome(decision, outcome_id="o-1", rank=1, kind="OUTCOME_KIND_ACCEPTED", at=NOW, measures=None):
    return pb.Outcome(
        outcome_id=outcome_id,
        decision_id=decision.decision_id,
        rank=rank,
        kind=kind,
        outcome_time=at if isinstance(at, Timestamp) else instant(at),
        measures=measures,
    )


def verdict(result):
    """Name what became of one outcome."""
    if result.WhichOneof("result") == "error":
        return REASONS[result.error.reason]
    return "duplicate" if result.accepted.duplicate else "accepted"


def fields(result):
    return [violation.field for violation in result.error.field_violations]


def test_an_outcome_is_recorded_once(shop, decision):
    once, twice = shop.record(outcome(decision)), shop.record(outcome(decision))
    assert [verdict(once[0]), verdict(twice[0])] == ["accepted", "duplicate"]
    assert shop.verdicts == [("accepted", "ACCEPTED"), ("duplicate", "ACCEPTED")]
    assert list(shop.log.outcomes) == ["o-1"]


def test_the_same_outcome_twice_in_one_batch_is_recorded_once(shop, decision):
    assert [verdict(result) for result in shop.record(outcome(decision), outcome(decision))] == [
        "accepted",
        "duplicate",
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"rank": 2},
        {"kind": "OUTCOME_KIND_VIEWED"},
        {"at": NOW - timedelta(microseconds=1)},
        {"measures": {"effort": 3.0}},
    ],
    ids=["rank", "kind", "time", "measures"],
)
def test_an_id_stands_for_one_outcome_for_ever(shop, decision, other):
    shop.record(outcome(decision))
    (result,) = shop.record(outcome(decision, **other))
    assert verdict(result) == "IDENTIFIER_REUSED"
    assert verdict(shop.record(outcome(decision))[0]) == "duplicate"


def test_an_orphan_is_refused(shop, decision):
    nowhere = pb.DecideResponse(decision_id="no-such-decision")
    dry = shop.decide(request_id="a-1", mode="DECISION_MODE_DRY_RUN")
    beyond = len(decision.actions) + 1
    results = shop.record(outcome(nowhere, "o-1"), outcome(dry, "o-2"), outcome(decision, "o-3", rank=beyond))
    assert [verdict(result) for result in results] == ["DECISION_UNKNOWN"] * 3
    assert shop.log.outcomes == {}


def test_an_empty_answer_has_no_rank_to_report_on(shop):
    decision = shop.decide(customer_id="nobody")
    assert verdict(shop.record(outcome(decision))[0]) == "DECISION_UNKNOWN"


def test_every_violation_of_an_outcome_is_listed_at_once(shop):
    (result,) = shop.record(pb.Outcome())
    assert fields(result) == ["outcome_id", "decision_id", "rank", "kind", "outcome_time"]
    assert result.error.code == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"outcome_id": ""}, "outcome_id"),
        ({"outcome_id": "o" * 129}, "outcome_id"),
        ({"rank": 0}, "rank"),
        ({"rank": -(2**31)}, "rank"),
        ({"kind": 0}, "kind"),
        ({"kind": 99}, "kind"),
        ({"at": datetime(1999, 12, 31, tzinfo=UTC)}, "outcome_time"),
        ({"at": NOW + timedelta(minutes=5, microseconds=1)}, "outcome_time"),
        ({"at": Timestamp(seconds=2**62)}, "outcome_time"),
        ({"at": Timestamp(seconds=1_700_000_000, nanos=-1)}, "outcome_time"),
        ({"measures": {"effort": -0.001}}, "measures[effort]"),
        ({"measures": {"effort": 10.001}}, "measures[effort]"),
        ({"measures": {"effort": math.nan}}, "measures[effort]"),
        ({"measures": {"delight": math.inf}}, "measures[delight]"),
        ({"measures": {"delight": -math.inf}}, "measures[delight]"),
        ({"measures": {"": 0.0}}, "measures[]"),
        ({"measures": {"m" * 70: 0.0}}, f"measures[{'m' * 64}…]"),
        ({"measures": {f"m{number}": 0.0 for number in range(21)}}, "measures"),
    ],
)
def test_an_outcome_that_breaks_the_contract_names_the_field(shop, decision, changes, field):
    (result,) = shop.record(outcome(decision, **changes))
    assert (verdict(result), fields(result)) == ("REQUEST_INVALID", [field])
    assert shop.verdicts == [("invalid", "")]


def test_an_outcome_may_be_five_minutes_ahead(shop, decision):
    assert verdict(shop.record(outcome(decision, at=NOW + timedelta(minutes=5)))[0]) == "accepted"


def test_an_outcome_carries_what_the_playbook_measures(shop, decision):
    carried = outcome(decision, measures={"effort": 10.0, "delight": -1.5})
    assert [verdict(shop.record(carried)[0]) for _ in range(2)] == ["accepted", "duplicate"]
    other = outcome(decision, measures={"effort": 10.0, "delight": 1.5})
    assert verdict(shop.record(other)[0]) == "IDENTIFIER_REUSED"
    assert verdict(shop.record(outcome(decision))[0]) == "IDENTIFIER_REUSED"
    assert list(shop.explain(decision.decision_id).outcomes) == [carried]


def test_a_misspelt_measure_is_met_with_the_nearest_right_name(shop, decision):
    measures = {"efort": 1.0, "delight": 9.0, "xyz": 1.0}
    (result,) = shop.record(outcome(decision, measures=measures))
    assert [(v.field, v.description) for v in result.error.field_violations] == [
        ("measures[delight]", "must lie from -1.5 to 1.5"),
        ("measures[efort]", 'not in the playbook; did you mean "effort"?'),
        ("measures[xyz]", "not in the playbook"),
    ]


def test_the_nearest_name_is_looked_for_a_few_times_only(shop, decision):
    batch = [outcome(decision, f"o-{number}", measures={"efort": 1.0}) for number in range(30)]
    texts = [result.error.field_violations[0].description for result in shop.record(*batch)]
    assert texts == ['not in the playbook; did you mean "effort"?'] * 20 + ["not in the playbook"] * 10


def test_a_bad_item_fails_no_other(shop, decision):
    batch = [
        outcome(decision, "o-1"),
        pb.Outcome(),
        outcome(decision, "o-2", rank=99),
        outcome(decision, "o-1"),
        outcome(decision, "o-3", rank=2),
    ]
    assert [verdict(result) for result in shop.record(*batch)] == [
        "accepted",
        "REQUEST_INVALID",
        "DECISION_UNKNOWN",
        "duplicate",
        "accepted",
    ]
    assert list(shop.log.outcomes) == ["o-1", "o-3"]


def test_an_empty_batch_is_answered_without_the_store(shop):
    shop.log.failure = NotLogged("gone")
    assert shop.record() == []


@pytest.mark.parametrize("count", [10_001, 20_000])
def test_an_oversized_batch_is_refused_whole(shop, count):
    with pytest.raises(Fault) as raised:
        shop.record(*[pb.Outcome()] * count)
    assert raised.value.reason_name == "BATCH_TOO_LARGE"
    assert raised.value.message == f"outcomes: {count} items, at most 10000"
    assert shop.verdicts == []


def test_a_store_that_cannot_be_written_acknowledges_nothing(shop, decision):
    shop.log.failure = NotLogged("disk is full")
    with pytest.raises(Fault) as raised:
        shop.record(outcome(decision))
    assert raised.value.reason_name == "STORE_UNAVAILABLE"
    assert shop.verdicts == []


def test_a_full_queue_acknowledges_nothing(shop, decision):
    shop.log.queued = shop.log.queue_limit
    with pytest.raises(Fault) as raised:
        shop.record(outcome(decision))
    assert raised.value.reason_name == "OVERLOADED"
    assert shop.log.outcomes == {}


stamps = st.builds(
    Timestamp,
    seconds=st.integers(-(2**63), 2**63 - 1) | st.just(int(NOW.timestamp())),
    nanos=st.integers(-(2**31), 2**31 - 1) | st.just(0),
)


@given(
    st.lists(
        st.builds(
            pb.Outcome,
            outcome_id=st.text(max_size=3),
            decision_id=st.sampled_from(["", "nowhere", Shop().decide(request_id="a-1").decision_id]),
            rank=st.integers(-(2**31), 2**31 - 1) | st.integers(0, 6),
            kind=st.integers(-3, 9),
            outcome_time=st.none() | stamps,
            measures=st.dictionaries(st.sampled_from(["effort", "delight", "x"]), st.floats(), max_size=2),
        ),
        max_size=6,
    )
)
def test_every_item_is_answered(outcomes):
    shop = Shop()
    decision = shop.decide(request_id="a-1")
    results = shop.record(*outcomes)
    assert len(results) == len(outcomes)
    assert sum(verdict(result) == "accepted" for result in results) == len(shop.log.outcomes)
    assert all(report.rank <= len(decision.actions) for report in shop.log.outcomes.values())
    assert all(0 <= report.measures.get("effort", 0) <= 10 for report in shop.log.outcomes.values())
