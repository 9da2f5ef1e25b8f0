"""Which column of a file holds what."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError, field_validator

from services.cli.failure import Failure
from services.engine.playbook import source
from services.engine.playbook.errors import PlaybookError, did_you_mean
from services.engine.playbook.kinds import Section
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.shapes import located

ALL: Final = "all"
_OTHER_DELIMITERS: Final = ";\t|"
_MOST_LISTED: Final = 20


class Layout(Section):
    """What an import is told: columns by what they hold; None where left to the names of the columns.

    ``types`` turns words of the column ``type`` into types of the playbook; others stand for themselves.
    ``attributes`` are columns by attribute.
    """

    event_id: str | None = None
    event_id_from: Literal["all"] | tuple[str, ...] | None = None
    customer_id: str | None = None
    type: str | None = None
    constant_type: str | None = None
    types: Mapping[str, str] = {}
    event_time: str | None = None
    time_unit: Literal["seconds", "milliseconds", "microseconds"] | None = None
    time_zone: str | None = None
    attributes: Mapping[str, str] | None = None

    @field_validator("event_id_from", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where everything stands in one file; all of ``used`` are there.

    ``event_id`` is None where ids are made, ``type`` where it is constant.
    """

    event_id: str | None
    customer_id: str
    type: str | None
    event_time: str
    attributes: Mapping[str, str]
    used: Sequence[str]

    def of(self, field: str) -> str:
        """Return the column that a field of an event came from, nothing where it came from none."""
        kind, _, name = field.partition(".")
        found = self.attributes.get(name) if kind == "attributes" else getattr(self, kind, None)
        return found if isinstance(found, str) else ""

    def field_in(self, column: str) -> str:
        """Return the first field of an event that comes from a column, nothing where none does."""
        attributes = (f"attributes.{name}" for name in self.attributes)
        fields = ("event_id", "customer_id", "type", "event_time", *attributes)
        return next((field for field in fields if column and self.of(field) == column), "")


def read_layout(arguments: argparse.Namespace) -> Layout:
    """Read the mapping file, and put the options over it.

    Raises:
        PlaybookError: the file does not hold a mapping; each problem names its line.
        Failure: options contradict each other.
    """
    told = {} if arguments.mapping is None else _read(arguments.mapping)
    for name in Layout.model_fields:
        if (option := getattr(arguments, name, None)) is not None:
            told[name] = option
    if arguments.event_id_from not in (None, ALL):
        told["event_id_from"] = arguments.event_id_from.split(",")
    if arguments.attribute is not None:
        told["attributes"] = dict(map(_pair, arguments.attribute))
    layout = Layout.model_validate(told)
    if layout.event_id and layout.event_id_from:
        raise Failure("say event_id or event_id_from, not both")
    if layout.type and layout.constant_type:
        raise Failure("say type or constant_type, not both")
    return layout


def resolve(layout: Layout, header: Sequence[str], file: Path, playbook: Playbook) -> Columns:
    """Find the columns of one file.

    Raises:
        Failure: a column is missing or stands twice, or one is no attribute of any event.
    """
    if repeated := sorted(name for name, count in Counter(header).items() if count > 1):
        raise Failure(f"{file}: the column {_quoted(repeated)} stands twice")
    event_id = None if layout.event_id_from else layout.event_id or "event_id"
    event_type = None if layout.constant_type else layout.type or "type"
    customer_id = layout.customer_id or "customer_id"
    event_time = layout.event_time or "event_time"
    made_of = layout.event_id_from if isinstance(layout.event_id_from, tuple) else ()
    fixed = [name for name in (event_id, customer_id, event_type, event_time, *made_of) if name is not None]
    attributes = layout.attributes
    if attributes is None:
        attributes = {name: name for name in header if name not in fixed}
    wanted = list(dict.fromkeys([*fixed, *attributes.values()]))
    if missing := [name for name in wanted if name not in header]:
        raise Failure(f"{file}: there is no column {_quoted(missing)}{_hint(missing, header, fixed)}")
    _check_declared(attributes, file, playbook)
    return Columns(
        event_id=event_id,
        customer_id=customer_id,
        type=event_type,
        event_time=event_time,
        attributes=attributes,
        used=wanted,
    )


def _read(path: Path) -> dict[str, Any]:
    document = source.read(path, str(path))
    try:
        Layout.model_validate(document.data)
    except ValidationError as error:
        raise PlaybookError(located(document, error)) from None
    return dict(document.data)


def _pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise Failure(f"--attribute {text}: write NAME=COLUMN")
    return name, column


def _check_declared(attributes: Mapping[str, str], file: Path, playbook: Playbook) -> None:
    known = {name for declared in playbook.events.events.values() for name in declared.attributes}
    for name, column in attributes.items():
        if name not in known:
            raise Failure(
                f'{file}: no event of playbook "{playbook.head.name}" has an attribute "{name}"'
                f"{did_you_mean(name, known)}; say --attribute NAME=COLUMN for each column to take"
                + ("" if name == column else f' (column "{column}")')
            )


def _hint(missing: Sequence[str], header: Sequence[str], fixed: Sequence[str]) -> str:
    if len(header) == 1 and (found := next((mark for mark in _OTHER_DELIMITERS if mark in header[0]), None)):
        return f"; its columns seem to be divided by {found!r}: say --delimiter"
    spare = [name for name in header if name not in fixed]
    if hints := [hint for name in missing if (hint := did_you_mean(name, spare))]:
        return hints[0]
    if "event_id" in missing:
        return "; say --event-id COLUMN, or --event-id-from all to make ids of the content"
    return f"; there are {_quoted(header[:_MOST_LISTED])}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name:.64}"' for name in names)
