"""A dead letter fits, says what is wrong, and can be buried twice."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from tact.features.v1 import feature_service_pb2 as pb

from services.engine.violations import Invalid, Violation
from services.features.adapters.dead_letters import Fault, Matcher, defective, letter, refused, unreadable
from services.features.adapters.event_messages import Unreadable
from services.features.domain.placement import Reused
from services.features.stream_metrics import REASONS

MOST_BYTES = 20_000


def message(data, sequence=7):
    reply = f"$JS.ACK.EVENTS.durable.1.{sequence}.9.1740000000000000000.3"
    return Msg(Client(), subject="tact.events", reply=reply, data=data)


@given(
    st.binary(max_size=30_000),
    st.lists(st.tuples(st.text(max_size=900), st.text(max_size=900)), max_size=60),
)
def test_it_fits_and_its_headers_are_plain(data, wrong):
    fault = Fault("invalid", [Violation(*pair) for pair in wrong])
    payload, headers = letter(message(data), fault, MOST_BYTES)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    assert lines.isascii()
    assert "\n" not in "".join(headers.values())
    assert len(f"NATS/1.0\r\n{lines}\r\n") + len(payload) <= MOST_BYTES or not payload
    assert data.startswith(payload)
    assert ("Tact-Cut-From-Bytes" in headers) == (payload != data)
    shown = json.loads(headers["Tact-Violations"])
    assert [(each["field"], each["description"]) for each in shown] == [
        (field[:100], description[:300]) for field, description in wrong[:10]
    ]


def test_each_message_has_an_id_of_its_own_and_keeps_it():
    ids = [
        letter(message(b"", sequence), defective(), MOST_BYTES)[1]["Nats-Msg-Id"] for sequence in (7, 7, 8)
    ]
    assert ids[0] == ids[1] != ids[2]


def test_every_reason_is_one_of_the_metrics():
    faults = [
        unreadable(Unreadable("no")),
        unreadable(Unreadable("no", is_too_large=True)),
        refused(Invalid((Violation("type", "no"),))),
        refused(Reused()),
        defective(),
    ]
    assert [fault.reason for fault in faults] == list(REASONS)


IDS = st.text(string.ascii_letters + 'ö"\\\n-', min_size=1, max_size=200)


def is_of(payload, *customer_ids):
    (answer,) = Matcher(customer_ids).are_wanted([payload])
    return answer


@given(IDS, IDS, st.binary())
def test_it_is_of_whom_its_event_names_also_where_the_rest_is_garbled(customer_id, other, garbage):
    event = pb.Event(customer_id=customer_id, type=other)
    assert is_of(event.SerializeToString(), customer_id, "x")
    assert is_of(event.SerializeToString(), other) == (other == customer_id)
    assert is_of(pb.Event(customer_id=customer_id).SerializeToString() + b"\xff" + garbage, customer_id)
    assert not is_of(f"{{ {customer_id}z".encode(), customer_id)
    for is_ascii in (True, False):
        words = json.dumps({"colour": other, "customerId": customer_id}, ensure_ascii=is_ascii).encode()
        assert is_of(words, customer_id)
        assert is_of(words, other) == (other == customer_id)
        assert is_of(b"\xff" + json.dumps(customer_id, ensure_ascii=is_ascii).encode() + garbage, customer_id)


@pytest.mark.parametrize(
    ("text", "customer_id"),
    [
        (r'{"customerId": "crm\/4711", "colour": 1}', "crm/4711"),
        (r'{"customer_id":"bj\u00F6rn","attributes":{"x":', "björn"),
        (r'{"colour": 1, "customerId" : "a\u003cb"', "a<b"),
    ],
)
def test_it_is_of_whom_its_json_names_however_that_is_written(text, customer_id):
    assert is_of(text.encode(), customer_id)
    assert not is_of(text.encode(), "colour", "1", "customerId")


def test_numbers_and_times_in_the_letter_of_another_are_nobody():
    text = b'{"eventId":"e","customerId":"bob.42","eventTime":"2026-11-29T10:30:05Z","colour":1}'
    assert not is_of(text, "30", "42", "1", "e", "bob")
    assert is_of(text, "30", "bob.42")
