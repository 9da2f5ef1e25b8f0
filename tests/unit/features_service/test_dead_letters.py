"""A dead letter fits, says what is wrong, and can be buried twice."""

import json

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.engine.violations import Invalid, Violation
from services.features.adapters.dead_letters import Fault, defective, letter, refused, unreadable
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
