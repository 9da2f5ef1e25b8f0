"""Messages that no repetition could help, and what is wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_NAMED: Final = re.compile(rb'"customer_?[iI]d"\s*:\s*("(?:[^"\\]|\\.)*+")')


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


class Matcher:
    """Tells which dead letters are of some customers, also of those that can no longer be read.

    A letter is of whom it names: as the event that it is, else in JSON, whole or not, by ``customerId``.
    Where it names nobody so, it is of everybody whose id stands anywhere in it: in a field of a serialised
    event, or alone in the text, as it is or escaped as in JSON.
    """

    def __init__(self, customer_ids: Iterable[str]) -> None:
        self._ids = frozenset(customer_ids)
        fields = [pb.Event(customer_id=customer_id).SerializeToString() for customer_id in self._ids]
        texts = {text.encode() for customer_id in self._ids for text in _spellings(customer_id)}
        self._fields, self._texts = fields, texts

    def are_wanted(self, payloads: Iterable[bytes]) -> list[bool]:
        """Tell for each payload whether it is of one of the customers."""
        return [self._is_wanted(payload) for payload in payloads]

    def _is_wanted(self, payload: bytes) -> bool:
        if named := _customer_of(payload):
            return named in self._ids
        # To look for bytes is far faster than to look for a pattern.
        return any(field in payload for field in self._fields) or any(
            text in payload and re.search(rb"(?<![\w-])%b(?![\w-])" % re.escape(text), payload)
            for text in self._texts
        )


def _customer_of(payload: bytes) -> str:
    try:
        return read_event(payload).customer_id
    except Unreadable:
        named = _NAMED.search(payload)
    try:
        return str(json.loads(named[1])) if named else ""
    except ValueError:
        return ""


def _spellings(customer_id: str) -> Iterator[str]:
    yield customer_id
    for is_ascii in (True, False):
        yield json.dumps(customer_id, ensure_ascii=is_ascii)[1:-1]
