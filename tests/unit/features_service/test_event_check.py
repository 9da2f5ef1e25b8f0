import math

import pytest

from services.engine import moments
from services.engine.moments import LATEST, MOST_AHEAD, Moment
from services.engine.playbook.loader import load, shipped
from services.engine.violations import Invalid
from services.features.domain.events import Event, IncomingEvent, check

NOW = 1_510_000_000_000_000


@pytest.fixture(scope="module")
def playbook():
    return load(shipped("retail"))


def incoming(**changes):
    fields = {
        "event_id": "e1",
        "customer_id": "c1",
        "type": "purchase",
        "event_time": Moment(1_500_000_000, 7_000),
        "attributes": {"amount": 12.34, "quantity": 2.0, "with_coupon": True, "department": "MEAT"},
    }
    return IncomingEvent(**{**fields, **changes})


def test_a_good_event_is_kept_in_microseconds_and_canonical_json(playbook):
    assert check(incoming(), playbook, NOW) == Event(
        event_id="e1",
        customer_id="c1",
        type="purchase",
        event_time=1_500_000_000_000_007,
        attributes='{"amount":12.34,"department":"MEAT","quantity":2,"with_coupon":true}',
    )


def test_the_order_of_attributes_is_no_content(playbook):
    backwards = dict(reversed(incoming().attributes.items()))
    assert check(incoming(attributes=backwards), playbook, NOW) == check(incoming(), playbook, NOW)


def test_an_event_with_absurdly_many_attributes_is_refused_without_looking_at_them(playbook):
    event = incoming(attributes={f"attribute_{number}": 1.0 for number in range(20_000)})
    assert check(event, playbook, NOW).violations == (("attributes", "20000 entries, at most 200"),)


def test_every_violation_is_listed_at_once(playbook):
    event = incoming(
        event_id="", customer_id="c" * 129, event_time=None, attributes={"ammount": 1.0, "amount": "much"}
    )
    assert [violation.field for violation in check(event, playbook, NOW).violations] == [
        "event_id",
        "customer_id",
        "event_time",
        "attributes.ammount",
        "attributes.amount",
    ]


@pytest.mark.parametrize(
    ("changes", "field", "description"),
    [
        ({"type": "purchse"}, "type", 'not in the playbook; did you mean "purchase"?'),
        (
            {"attributes": {"quantty": 1.0}},
            "attributes.quantty",
            'not in the playbook; did you mean "quantity"?',
        ),
        ({"attributes": {"amount": math.nan}}, "attributes.amount", "must be finite"),
        ({"attributes": {"amount": math.inf}}, "attributes.amount", "must be finite"),
        ({"attributes": {"quantity": -math.inf}}, "attributes.quantity", "must be finite"),
        ({"attributes": {"quantity": 1e300}}, "attributes.quantity", "must be a whole number within 2**53"),
        ({"attributes": {"quantity": 1.5}}, "attributes.quantity", "must be a whole number within 2**53"),
        ({"attributes": {"amount": "12"}}, "attributes.amount", "must be a number, not a string"),
        ({"attributes": {"amount": True}}, "attributes.amount", "must be a number, not a boolean"),
        ({"attributes": {"amount": None}}, "attributes.amount", "must be a number, not null"),
        ({"attributes": {"basket": []}}, "attributes.basket", "must be a string, not a list"),
        ({"attributes": {"basket": {}}}, "attributes.basket", "must be a string, not a mapping"),
        ({"event_id": "a\0b"}, "event_id", "must not contain the character U+0000"),
        ({"event_time": None}, "event_time", "must be set"),
        ({"event_time": Moment(-1, 0)}, "event_time", "must not lie before 1970"),
        ({"event_time": Moment(0, 1)}, "event_time", "must be in whole microseconds"),
        ({"event_time": Moment(0, -1)}, "event_time", "must have nanos from 0 to 999,999,999"),
        ({"event_time": Moment(0, 10**9)}, "event_time", "must have nanos from 0 to 999,999,999"),
        ({"event_time": Moment(10**17, 0)}, "event_time", "must not lie after the year 9999"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(playbook, changes, field, description):
    assert check(incoming(**changes), playbook, NOW) == Invalid(((field, description),))


@pytest.mark.parametrize("amount", [1e15, 0.001, 1e300])
def test_amounts_beyond_their_scale_are_refused(playbook, amount):
    (violation,) = check(incoming(attributes={"amount": amount}), playbook, NOW).violations
    assert violation.field == "attributes.amount"


def test_descriptions_do_not_repeat_values(playbook):
    event = incoming(
        event_id="secret" * 30, attributes={"amount": "secret", "campaign": "secret", "with_coupon": "secret"}
    )
    assert "secret" not in " ".join(v.description for v in check(event, playbook, NOW).violations)


def test_an_event_may_lie_five_minutes_ahead_and_no_more():
    last = NOW + MOST_AHEAD
    seconds, micros = divmod(last, 1_000_000)
    assert moments.past(Moment(seconds, micros * 1_000), NOW) == last
    with pytest.raises(ValueError, match="ahead"):
        moments.past(Moment(seconds, micros * 1_000 + 1_000), NOW)


def test_reads_are_as_of_now_or_of_a_time_cut_to_microseconds():
    assert moments.as_of(Moment(1, 1_999)) == 1_000_001
    assert moments.as_of(Moment(LATEST // 1_000_000, 0)) == LATEST


@pytest.mark.parametrize(
    "moment", [Moment(-1, 999_999_999), Moment(LATEST // 1_000_000, 1_000), Moment(10**18, 0), Moment(1, -5)]
)
def test_reads_as_of_absurd_times_are_refused(moment):
    with pytest.raises(ValueError, match="must"):
        moments.as_of(moment)
