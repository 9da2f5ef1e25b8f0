"""Events in the contract's messages, as calls and streams carry them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from tact.features.v1 import feature_service_pb2 as pb

from services.engine.moments import Moment
from services.features.domain.events import IncomingEvent

MOST_BYTES: Final = 1 << 20
"""More than any event takes that the contract allows."""
_OPENING: Final = b"{"


class Unreadable(ValueError):
    """Bytes that are no event, or too many of them (``is_too_large``)."""

    def __init__(self, message: str, *, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.is_too_large = is_too_large


def read_event(data: bytes) -> IncomingEvent:
    """Read a message of a stream: JSON where it begins with ``{``, else a serialised ``Event``.

    No serialised event begins so, as that would be a field of a number that it has not.

    Raises:
        Unreadable: it is neither, or larger than ``MOST_BYTES``.
    """
    if len(data) > MOST_BYTES:
        raise Unreadable(f"has {len(data)} bytes, at most {MOST_BYTES}", is_too_large=True)
    if not data.startswith(_OPENING):
        try:
            return incoming_event(pb.Event.FromString(data))
        except DecodeError:
            raise Unreadable("is no serialised tact.features.v1.Event, and no JSON") from None
    try:
        return incoming_event(json_format.Parse(data, pb.Event()))
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise Unreadable(f"is no JSON of tact.features.v1.Event: {error}") from None


def incoming_event(event: pb.Event) -> IncomingEvent:
    """Translate an event; nothing is checked."""
    return IncomingEvent(
        event_id=event.event_id,
        customer_id=event.customer_id,
        type=event.type,
        event_time=moment(event.event_time) if event.HasField("event_time") else None,
        attributes={name: _plain(value) for name, value in event.attributes.items()},
    )


def moment(timestamp: Timestamp) -> Moment:
    """Translate a time; nothing is checked."""
    return Moment(timestamp.seconds, timestamp.nanos)


_READ: Final[Mapping[str | None, Callable[[Value], object]]] = {
    "number_value": attrgetter("number_value"),
    "string_value": attrgetter("string_value"),
    "bool_value": attrgetter("bool_value"),
    "list_value": lambda value: [],
    "struct_value": lambda value: {},
    "null_value": lambda value: None,
    None: lambda value: None,
}


def _plain(value: Value) -> object:
    return _READ[value.WhichOneof("kind")](value)
