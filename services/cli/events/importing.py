"""An import under way: what was read, what is to be sent, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from tact.features.v1 import feature_service_pb2 as pb

from services.cli.events.layout import Columns
from services.cli.events.rejects import Rejects
from services.cli.events.row import Damaged, Source
from services.cli.events.translation import Translator
from services.engine.violations import Invalid, Violation
from services.features.domain.events import Event

MOST_EVENTS: Final = 1_000
_MOST_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Counts:
    """Rows by what became of them; ``read`` is the sum of the others once all is done."""

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0

    def __str__(self) -> str:
        return (
            f"{self.read} read, {self.stored} stored, {self.duplicates} duplicates, {self.rejected} rejected"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One file, and how its rows become events."""

    source: Source
    translator: Translator

    @property
    def columns(self) -> Columns:
        """Where everything stands in the file."""
        return self.translator.columns


@dataclass(slots=True)
class Batch:
    """Events of one file to be stored in one call, and the lines that they came from."""

    reading: Reading
    lines: list[int] = field(default_factory=list)
    events: list[pb.Event] = field(default_factory=list)
    size: int = 0

    def add(self, line: int, event: pb.Event) -> None:
        """Take in one more."""
        self.lines.append(line)
        self.events.append(event)
        self.size += event.ByteSize()

    @property
    def is_full(self) -> bool:
        """Tell whether it is as large as one call should be."""
        return len(self.events) >= MOST_EVENTS or self.size >= _MOST_BYTES


class Importing:
    """Turns files into batches, and counts what becomes of their rows."""

    def __init__(self, rejects: Rejects, now: Callable[[], int]) -> None:
        """Start with nothing; ``now`` returns UTC microseconds since 1970."""
        self.counts = Counts()
        self._rejects = rejects
        self._now = now

    def batches(self, reading: Reading) -> Iterator[Batch]:
        """Read one file bit by bit; what is refused here is in no batch."""
        batch, now = Batch(reading), self._now()
        for row in reading.source.rows(reading.columns.used):
            self.counts.read += 1
            if isinstance(row, Damaged):
                found = Violation(reading.columns.field_in(row.column), row.reason)
                self._reject(reading.source.path, row.line, [(row.column, found)])
                continue
            event = reading.translator.event(row, now)
            if isinstance(event, Invalid):
                self._refuse(reading, row.line, event.violations)
                continue
            batch.add(row.line, _message(event))
            if batch.is_full:
                yield batch
                batch, now = Batch(reading), self._now()
        if batch.events:
            yield batch

    def settle(self, batch: Batch, results: Sequence[pb.IngestEventResult]) -> None:
        """Count what the service answered."""
        for line, result in zip(batch.lines, results, strict=True):
            if result.HasField("error"):
                error = result.error
                found = [Violation(each.field, each.description) for each in error.field_violations]
                self._refuse(batch.reading, line, found or [Violation("event_id", error.message)])
            elif result.accepted.duplicate:
                self.counts.duplicates += 1
            else:
                self.counts.stored += 1

    def _refuse(self, reading: Reading, line: int, violations: Sequence[Violation]) -> None:
        wrong = [(reading.columns.of(violation.field), violation) for violation in violations]
        self._reject(reading.source.path, line, wrong)

    def _reject(self, file: Path, line: int, wrong: Sequence[tuple[str, Violation]]) -> None:
        self.counts.rejected += 1
        self._rejects.add(file, line, wrong)


def _message(event: Event) -> pb.Event:
    seconds, micros = divmod(event.event_time, 1_000_000)
    return pb.Event(
        event_id=event.event_id,
        customer_id=event.customer_id,
        type=event.type,
        event_time=Timestamp(seconds=seconds, nanos=micros * 1_000),
        attributes={name: _value(value) for name, value in json.loads(event.attributes).items()},
    )


def _value(value: str | float | bool) -> Value:
    if isinstance(value, bool):
        return Value(bool_value=value)
    return Value(string_value=value) if isinstance(value, str) else Value(number_value=value)
