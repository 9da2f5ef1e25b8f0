"""A request that breaks the contract names every violation at once, and is not logged."""

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest
from deciding import ANNA, NOW, Shop, chosen, playbook, request
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from tact.decision.v1 import decision_service_pb2 as pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.chassis.faults import Fault, to_status

DRY = "DECISION_MODE_DRY_RUN"


def violations(asked, shop=None):
    """Return what is wrong with a request, by field; the fault must be what the contract names."""
    shop = shop or Shop()
    with pytest.raises(Fault) as raised:
        asyncio.run(shop.deciding(asked))
    assert raised.value.reason_name == "REQUEST_INVALID"
    assert shop.log.entries == {}
    assert shop.decided == []
    found = {violation.field: violation.description for violation in raised.value.violations}
    assert len(found) == len(raised.value.violations)
    return found


def test_every_violation_is_listed_at_once():
    asked = request(
        request_id="r" * 129,
        identity=("crad", ""),
        max_actions=-1,
        min_sequence=-1,
        action_ids=["wine-coupon", "wine-cupon"],
        groups=["offer"],
        context={
            "placement": "p" * 129,
            "channel": "emial",
            "device": "d" * 129,
            "intent": "i" * 129,
            "time_zone": "Europe/Pariss",
            "attributes": {"basket_value": "much", "instore": True, "in_store": 1.0},
        },
    )
    asked.mode = 7
    asked.decision_time.nanos = -5
    found = violations(asked)
    assert found == {
        "mode": "7 is no mode",
        "decision_time": "must lie from 2000 to 2100",
        "request_id": "must have at most 128 characters",
        "customer.identity.kind": 'not in the playbook; did you mean "card"?',
        "customer.identity.value": "must have 1 to 256 characters",
        "max_actions": "must be between 0 and 100, not -1",
        "min_sequence": "must not be negative",
        "action_ids[1]": 'not in the playbook; did you mean "wine-coupon"?',
        "groups[0]": 'not in the playbook; did you mean "offers"?',
        "context.placement": "must have at most 128 characters",
        "context.device": "must have at most 128 characters",
        "context.intent": "must have at most 128 characters",
        "context.channel": 'not in the playbook; did you mean "email"?',
        "context.attributes[basket_value]": "must be a number, not a string",
        "context.attributes[instore]": 'not in the playbook; did you mean "in_store"?',
        "context.attributes[in_store]": "must be true or false, not a number",
        "context.time_zone": "is no IANA time zone",
    }


@pytest.mark.parametrize(
    ("customer", "field"),
    [
        (profile_pb.CustomerKey(), "customer"),
        (profile_pb.CustomerKey(customer_id=""), "customer.customer_id"),
        (profile_pb.CustomerKey(customer_id="c" * 129), "customer.customer_id"),
        (profile_pb.CustomerKey(identity=profile_pb.Identity(kind="card")), "customer.identity.value"),
        (
            profile_pb.CustomerKey(identity=profile_pb.Identity(kind="card", value="v" * 257)),
            "customer.identity.value",
        ),
        (
            profile_pb.CustomerKey(identity=profile_pb.Identity(kind="email", value="v")),
            "customer.identity.kind",
        ),
    ],
)
def test_a_customer_must_be_named(customer, field):
    assert list(violations(pb.DecideRequest(customer=customer))) == [field]


def test_the_longest_names_are_taken():
    shop = Shop()
    assert shop.decide(customer_id="c" * 128, request_id="r" * 128).request_id == "r" * 128


@pytest.mark.parametrize(
    "stamp",
    [
        Timestamp(seconds=946684799, nanos=999_999_999),
        Timestamp(seconds=4102444800),
        Timestamp(seconds=2**63 - 1),
        Timestamp(seconds=-(2**63)),
        Timestamp(seconds=NOW.year, nanos=-1),
        Timestamp(seconds=1_700_000_000, nanos=1_000_000_000),
        Timestamp(),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["DECISION_MODE_LIVE", DRY])
def test_absurd_times_are_refused(stamp, mode):
    found = violations(pb.DecideRequest(customer={"customer_id": ANNA}, mode=mode, decision_time=stamp))
    assert found == {"decision_time": "must lie from 2000 to 2100"}


@pytest.mark.parametrize("edge", [datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC)])
def test_a_dry_run_may_be_of_any_sane_time(edge):
    assert Shop().decide(mode=DRY, at=edge).decision_time.ToDatetime(UTC) == edge


@pytest.mark.parametrize("mode", ["DECISION_MODE_LIVE", "DECISION_MODE_UNSPECIFIED"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_live_decision_is_of_now(mode, sign):
    within, beyond = timedelta(seconds=5), timedelta(seconds=5, microseconds=1)
    assert Shop().decide(mode=mode, at=NOW + sign * within).decision_id
    found = violations(request(mode=mode, at=NOW + sign * beyond))
    assert found == {"decision_time": "must lie within 5 s of now where mode is LIVE"}


def test_without_a_time_it_is_now():
    assert Shop().decide().decision_time.ToDatetime(UTC) == NOW
    assert Shop().decide(mode=DRY).decision_time.ToDatetime(UTC) == NOW


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 0.001, 1e300])
def test_absurd_numbers_are_refused(number):
    assert list(violations(request(context={"attributes": {"basket_value": number}}))) == [
        "context.attributes[basket_value]"
    ]


@pytest.mark.parametrize(
    "value",
    [
        Value(),
        Value(null_value=0),
        Value(struct_value=Struct(fields={"a": Value(number_value=1)})),
        Value(list_value=ListValue(values=[Value(number_value=1)])),
    ],
    ids=["nothing", "null", "struct", "list"],
)
@pytest.mark.parametrize("name", ["basket_value", "in_store"])
def test_values_of_no_declared_type_are_refused(name, value):
    assert list(violations(request(context={"attributes": {name: value}}))) == [f"context.attributes[{name}]"]


def test_ten_thousand_names_are_too_many():
    found = violations(request(action_ids=["wine-coupon"] * 10_000, groups=["offers"] * 1_001))
    assert found == {
        "action_ids": "10000 names, at most 1000",
        "groups": "1001 names, at most 1000",
    }


def test_a_thousand_times_the_same_name_is_one():
    shop = Shop()
    assert chosen(shop.decide(action_ids=["survey"] * 1_000)) == [("survey", "question")]


def test_thousands_of_violations_still_make_one_status():
    names = {f"attribute {number}": 1.0 for number in range(5_000)}
    asked = request(action_ids=[f"action {number}" for number in range(1_000)], context={"attributes": names})
    with pytest.raises(Fault) as raised:
        asyncio.run(Shop().deciding(asked))
    assert len(raised.value.violations) == 6_000
    assert to_status(raised.value).ByteSize() < 8_000


def test_huge_names_get_no_suggestion_and_no_echo():
    huge = "wine-coupon" * 100_000
    found = violations(request(action_ids=[huge], context={"channel": huge}))
    assert found["action_ids[0]"] == "not in the playbook"
    assert max(map(len, found.values())) < 100


@pytest.mark.parametrize("zone", ["../../etc/passwd", "\0", "Europe", "a" * 100_000, "/etc/localtime"])
def test_a_time_zone_is_no_path(zone):
    assert list(violations(request(context={"time_zone": zone}))) == ["context.time_zone"]


texts = st.text(max_size=20)
numbers = st.floats() | st.integers(-(2**31), 2**31 - 1).map(float)


@st.composite
def absurd_requests(draw):
    """Draw requests whose every field may be absurd."""
    asked = pb.DecideRequest(
        request_id=draw(texts),
        max_actions=draw(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 5)),
        mode=draw(st.integers(-5, 5)),
        min_sequence=draw(st.integers(-(2**63), 2**63 - 1) | st.just(0)),
        include_explanation=draw(st.booleans()),
        action_ids=draw(st.lists(texts | st.sampled_from(sorted(playbook().actions)), max_size=3)),
        groups=draw(st.lists(texts | st.sampled_from(["offers", "service"]), max_size=2)),
    )
    match draw(st.sampled_from(["none", "empty", "id", "identity", "anna"])):
        case "empty":
            asked.customer.SetInParent()
        case "id":
            asked.customer.customer_id = draw(texts)
        case "identity":
            asked.customer.identity.kind = draw(texts | st.just("card"))
            asked.customer.identity.value = draw(texts)
        case "anna":
            asked.customer.customer_id = ANNA
    if draw(st.booleans()):
        asked.decision_time.seconds = draw(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**32))
        asked.decision_time.nanos = draw(st.integers(-(2**31), 2**31 - 1) | st.just(0))
    for name in draw(st.sets(st.sampled_from(["placement", "channel", "device", "intent", "time_zone"]))):
        setattr(asked.context, name, draw(texts | st.sampled_from(["email", "Asia/Tokyo"])))
    for name in draw(st.sets(st.sampled_from(["basket_value", "in_store", "", "nothing"]))):
        value = asked.context.attributes[name]
        match draw(st.sampled_from(["number", "string", "bool", "null", "list", "struct", "nothing"])):
            case "number":
                value.number_value = draw(numbers)
            case "string":
                value.string_value = draw(texts)
            case "bool":
                value.bool_value = draw(st.booleans())
            case "null":
                value.null_value = 0
            case "list":
                value.list_value.values.add().number_value = draw(numbers)
            case "struct":
                value.struct_value.fields["a"].string_value = draw(texts)
    return asked


def answer_or_fault(shop, asked):
    try:
        return asyncio.run(shop.deciding(asked)), None
    except Fault as fault:
        return None, fault


@given(asked=absurd_requests())
def test_no_request_is_a_defect(asked):
    shop = Shop()
    answer, fault = answer_or_fault(shop, asked)
    assert len(shop.log.entries) == (fault is None)
    if fault is not None:
        assert fault.reason_name == "REQUEST_INVALID"
        assert fault.violations
    elif asked.request_id:
        assert answer_or_fault(shop, asked) == (answer, None)
