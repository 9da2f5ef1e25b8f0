"""What a stream carries is read as what it is, or said to be nothing."""

import json

import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from tact.features.v1 import feature_service_pb2 as pb

from services.engine.moments import Moment
from services.features.adapters.event_messages import MOST_BYTES, Unreadable, incoming_event, read_event

words = st.text(max_size=20)
values = st.one_of(words, st.booleans(), st.floats(allow_nan=False, allow_infinity=False))


@st.composite
def events(draw):
    event = pb.Event(event_id=draw(words), customer_id=draw(words), type=draw(words))
    if draw(st.booleans()):
        event.event_time.CopyFrom(
            Timestamp(seconds=draw(st.integers(0, 10**10)), nanos=draw(st.integers(0, 999_999)) * 1_000)
        )
    for name, value in draw(st.dictionaries(words, values, max_size=4)).items():
        kind = {str: "string_value", bool: "bool_value"}.get(type(value), "number_value")
        setattr(event.attributes[name], kind, value)
    return event


@given(events())
def test_both_forms_say_the_same(event):
    expected = incoming_event(event)
    assert read_event(event.SerializeToString()) == expected
    assert read_event(MessageToJson(event, indent=None).encode()) == expected
    assert read_event(MessageToJson(event, preserving_proto_field_name=True).encode()) == expected


def refusal(data):
    """Return why bytes are unreadable, None where they are an event; nothing else is raised."""
    try:
        read_event(data)
    except Unreadable as error:
        return error
    return None


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda data: b"{" + data))
def test_any_bytes_are_an_event_or_unreadable(data):
    error = refusal(data)
    assert error is None or not error.is_too_large


@given(st.recursive(values | st.none(), lambda inner: st.lists(inner) | st.dictionaries(words, inner)))
def test_any_json_is_an_event_or_unreadable(value):
    for document in ({"attributes": {"a": value}}, {"event_id": value}, {"event_time": value}):
        error = refusal(json.dumps(document).encode())
        assert error is None or str(error).startswith("is no JSON of tact.features.v1.Event: ")


def test_json_is_read_as_people_write_it():
    event = read_event(
        b'{"event_id": "a", "customer_id": "c", "type": "order", "event_time": "2026-03-01T11:00:00+01:00",'
        b' "attributes": {"amount": 1.5, "gift": true, "shop": "x", "none": null, "list": [1]}}'
    )
    assert event.event_time == Moment(1_772_359_200, 0)
    assert event.attributes == {"amount": 1.5, "gift": True, "shop": "x", "none": None, "list": []}


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b' {"event_id": "a"}',
        b'{"event_id": 1}',
        b'{"colour": "red"}',
        b'{"event_id": "a", "event_id": "b"}',
        b'{"event_time": "yesterday"}',
        b'{"attributes": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"event_id": "\\ud800"}',
        b'{"event_id": "\xff"}',
        b"\x0a\xff",
    ],
)
def test_what_is_neither_form_is_unreadable(data):
    with pytest.raises(Unreadable):
        read_event(data)


def test_the_largest_message_is_a_mebibyte():
    largest = pb.Event(event_id="x" * (MOST_BYTES - 4)).SerializeToString()
    assert len(largest) == MOST_BYTES
    assert len(read_event(largest).event_id) == MOST_BYTES - 4
    with pytest.raises(Unreadable) as refused:
        read_event(largest + b"\x00")
    assert refused.value.is_too_large
