"""Messages that no repetition could help, and what is wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nats.aio.msg import Msg
from tact.features.v1 import feature_service_pb2 as pb

from services.engine.violations import Invalid, Violation
from services.features.adapters.event_messages import Unreadable, read_event
from services.features.domain.placement import Reused

_MOST_VIOLATIONS: Final = 10
_LONGEST_FIELD: Final = 100
_LONGEST_DESCRIPTION: Final = 300
_SLACK_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a message is dead; ``reason`` is one of the metrics' reasons."""

    reason: str
    violations: Sequence[Violation]


def unreadable(error: Unreadable) -> Fault:
    """Return what is wrong with a message that is no event."""
    return Fault("too_large" if error.is_too_large else "unreadable", [Violation("", str(error))])


def refused(answer: Invalid | Reused) -> Fault:
    """Return what is wrong with an event that was not stored."""
    if isinstance(answer, Invalid):
        return Fault("invalid", answer.violations)
    return Fault("reused", [Violation("event_id", "was used for another event")])


def defective() -> Fault:
    """Return what is wrong with an event that the service cannot handle, for a reason of its own."""
    return Fault("defect", [Violation("", "the service failed at this event again and again")])


def letter(message: Msg, fault: Fault, most_bytes: int) -> tuple[bytes, Mapping[str, str]]:
    """Return the payload and headers of a dead letter; together they have at most ``most_bytes``.

    The payload is the message's own, cut where it does not fit beside the headers. Headers are ASCII:
    what is wrong, by field, and where the message was. Its id is that of the message, so that
    burying it twice within two minutes buries it once.
    """
    metadata = message.metadata
    headers = {
        "Nats-Msg-Id": f"{metadata.stream}-{metadata.sequence.stream}-{metadata.timestamp.isoformat()}",
        "Tact-Reason": fault.reason.upper(),
        "Tact-Violations": json.dumps(
            [
                {"field": field[:_LONGEST_FIELD], "description": description[:_LONGEST_DESCRIPTION]}
                for field, description in fault.violations[:_MOST_VIOLATIONS]
            ]
        ),
        "Tact-Stream": metadata.stream,
        "Tact-Stream-Sequence": str(metadata.sequence.stream),
        "Tact-Subject": message.subject,
    }
    room = max(0, most_bytes - _SLACK_BYTES - sum(len(name) + len(value) for name, value in headers.items()))
    if len(message.data) > room:
        headers["Tact-Cut-From-Bytes"] = str(len(message.data))
    return message.data[:room], headers


def concerns(payload: bytes, customer_ids: Collection[str]) -> bool:
    """Tell whether a dead letter is of one of these customers.

    Where it is no event, or says of nobody whose it is, it is of who is named anywhere in it: an id that
    stands alone, as UTF-8 or escaped as in JSON, or where a serialised event has it.
    """
    try:
        if named := read_event(payload).customer_id:
            return named in customer_ids
    except Unreadable:
        pass
    return any(_named(customer_id).search(payload) for customer_id in customer_ids)


def _named(customer_id: str) -> re.Pattern[bytes]:
    field = pb.Event(customer_id=customer_id).SerializeToString()
    as_json = (json.dumps(customer_id, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
    texts = {text.encode() for text in (customer_id, *as_json)}
    alone = rb"(?<![\w-])(?:%b)(?![\w-])" % b"|".join(map(re.escape, texts))
    # After a serialised id anything may come.
    return re.compile(rb"%b|%b" % (re.escape(field), alone))
