"""Compares two messages of one kind field by field."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest
from typing import Any, Final, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from services.gateway.domain.replay import Difference

_LONGEST: Final = 200
_NUMBER: Final = struct.Struct("<d")
_WELL_KNOWN: Final = "google.protobuf."


def differences(
    recorded: Message, replayed: Message, tolerance: float, without: Collection[str] = (), path: str = ""
) -> Iterator[Difference]:
    """Yield what differs, in order of the fields; numbers may differ by ``tolerance``.

    Numbers are the same by their bits, so NaN is NaN and 0 is not -0. Vectors are compared number by
    number; what only one of the messages has is told as a whole.
    """
    for field in cast("Sequence[FieldDescriptor]", recorded.DESCRIPTOR.fields):
        if field.name in without:
            continue
        for before, now, place in _pairs(field, recorded, replayed):
            yield from _compared(field, before, now, tolerance, f"{path}{place}")


def _pairs(field: FieldDescriptor, recorded: Message, replayed: Message) -> Iterator[tuple[Any, Any, str]]:
    """Yield the values of a field that correspond, None where there is none, and where they stand."""
    before, now = getattr(recorded, field.name), getattr(replayed, field.name)
    if not field.is_repeated:
        yield _present(field, recorded), _present(field, replayed), field.name
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        for key in sorted({*before, *now}):
            yield before.get(key), now.get(key), f"{field.name}[{key}]"
    else:
        for index, (one, other) in enumerate(zip_longest(before, now)):
            yield one, other, f"{field.name}[{index}]"


def _present(field: FieldDescriptor, message: Message) -> Any:
    is_absent = field.has_presence and not message.HasField(field.name)
    return None if is_absent else getattr(message, field.name)


def _compared(
    field: FieldDescriptor, recorded: Any, replayed: Any, tolerance: float, path: str
) -> Iterator[Difference]:
    match recorded, replayed:
        case Message(), Message() if not _is_plain(recorded):
            yield from differences(recorded, replayed, tolerance, path=f"{path}.")
        case bytes(), bytes():
            yield from _vector(recorded, replayed, path)
        case _ if not _is_same(recorded, replayed, tolerance):
            yield Difference(field=path, recorded=_text(field, recorded), replayed=_text(field, replayed))


def _vector(recorded: bytes, replayed: bytes, path: str) -> Iterator[Difference]:
    if len(recorded) != len(replayed) or len(recorded) % _NUMBER.size:
        if recorded != replayed:
            yield Difference(field=path, recorded=_size(recorded), replayed=_size(replayed))
        return
    pairs = zip(_NUMBER.iter_unpack(recorded), _NUMBER.iter_unpack(replayed), strict=True)
    for index, ((before,), (now,)) in enumerate(pairs):
        if not _is_same(before, now, 0.0):
            yield Difference(field=f"{path}[{index}]", recorded=repr(before), replayed=repr(now))


def _is_same(one: Any, other: Any, tolerance: float) -> bool:
    match one, other:
        case float(), float():
            is_near = math.isclose(one, other, rel_tol=0.0, abs_tol=tolerance)
            return _NUMBER.pack(one) == _NUMBER.pack(other) or (is_near and tolerance > 0.0)
        case Message(), Message():
            return bool(one.SerializeToString() == other.SerializeToString())
        case _:
            return bool(one == other)


def _is_plain(message: Message) -> bool:
    """Tell whether a message is one value for people: a time, a length of time, a value of JSON."""
    return bool(message.DESCRIPTOR.full_name.startswith(_WELL_KNOWN))


def _text(field: FieldDescriptor, value: Any) -> str:
    """Write a value for people, shortened; nothing for none."""
    if value is None:
        return ""
    if isinstance(value, Message):
        text = _json(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        text = str(value) if named is None else named.name
    elif isinstance(value, bytes):
        text = _size(value)
    else:
        text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _json(message: Message) -> str:
    try:
        return MessageToJson(message, indent=None, preserving_proto_field_name=True, ensure_ascii=False)
    except (ValueError, OverflowError):
        # A time that no calendar holds.
        return str(message).replace("\n", " ").strip()


def _size(content: bytes) -> str:
    numbers, rest = divmod(len(content), _NUMBER.size)
    return f"{len(content)} bytes" if rest else f"a vector of {numbers}"
