"""The log record of a decision, read by paths such as ``candidates[reorder/push].propensity``."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from tact.log.v1.decision_record_pb2 import DecisionRecord

from services.engine.playbook.errors import did_you_mean

_STEP: Final = re.compile(r"([a-z_]+)(?:\[([^\]]+)\])?")
_PATH: Final = re.compile(r"[a-z_]+(\[[^\]]+\])?(\.[a-z_]+(\[[^\]]+\])?)*")
_SELECT: Final = "SELECT record FROM dry_run_decisions WHERE decision_id = ?"
_NAMES: Final = ("name", "action_id", "code", "stage", "purpose")
"""What an element of a list is known by."""


def read_record(store: Path, decision_id: str) -> bytes:
    """Return the record of a dry run as it stands in the gateway's store.

    Raises:
        LookupError: it is not there.
    """
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        row = connection.execute(_SELECT, (decision_id,)).fetchone()
    if row is None:
        raise LookupError(f"{decision_id} is not logged")
    record: bytes = row[0]
    return record


def as_json(record: bytes) -> Mapping[str, Any]:
    """Return a record as JSON; fields that are always there are there also where they are zero."""
    return MessageToDict(
        DecisionRecord.FromString(record),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def find(data: Any, path: str) -> Any:
    """Return what stands at a path, None for nothing.

    >>> find({"candidates": [{"action_id": "a", "treatment_id": "m", "rank": 1}]}, "candidates[a/m].rank")
    1
    """
    for name, key in _steps(path):
        data = data.get(name) if isinstance(data, Mapping) else None
        if key is not None and data is not None:
            data = data.get(key) if isinstance(data, Mapping) else _element(data, key)
        if data is None:
            return None
    return data


def check_path(path: str) -> None:
    """Check that a record can have something at a path.

    Raises:
        ValueError: it cannot; the message names the nearest right field.
    """
    message: Descriptor | None = DecisionRecord.DESCRIPTOR
    for name, key in _steps(path):
        if message is None:
            raise ValueError(f'"{path}": nothing lies below a value')
        if (field := message.fields_by_name.get(name)) is None:
            raise ValueError(f'"{path}": unknown field "{name}"' + did_you_mean(name, message.fields_by_name))
        message = _below(path, field, key)


def _below(path: str, field: FieldDescriptor, key: str | None) -> Descriptor | None:
    message: Descriptor | None = field.message_type
    if message is not None and message.GetOptions().map_entry:
        message = message.fields_by_name["value"].message_type if key is not None else message
    elif key is not None and not field.is_repeated:
        raise ValueError(f'"{path}": "{field.name}" is no list, so [{key}] is no part of it')
    elif key is None and field.is_repeated:
        return None
    # What is well known, such as a timestamp, is one value in JSON.
    is_plain = message is None or message.file.name.startswith("google/protobuf/")
    return None if is_plain else message


def _steps(path: str) -> Iterator[tuple[str, str | None]]:
    if not _PATH.fullmatch(path):
        raise ValueError(f'"{path}" is no path such as candidates[reorder/push].propensity')
    for name, key in _STEP.findall(path):
        yield name, key or None


def _element(elements: Sequence[Any], key: str) -> Any:
    if key.isdecimal():
        return elements[int(key)] if int(key) < len(elements) else None
    return next((each for each in elements if key in _known_as(each)), None)


def _known_as(element: Any) -> Iterator[str]:
    if isinstance(element, Mapping):
        yield from (str(element[name]) for name in _NAMES if name in element)
        yield f"{element.get('action_id')}/{element.get('treatment_id')}"
        yield f"{element.get('purpose')}/{element.get('channel')}"
