"""Rows as events of the playbook, or what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.cli.events.cells import is_empty, is_empty_text, is_empty_value, read_text, read_value
from services.cli.events.layout import Columns, Layout
from services.cli.events.occurrences import Occurrences
from services.cli.events.row import Row
from services.cli.events.times import Times
from services.engine.moments import Moment
from services.engine.playbook.playbook import Playbook
from services.engine.violations import Invalid, Violation
from services.features.domain.events import Event, IncomingEvent, check

_UNMADE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Translator:
    """Translates the rows of one file; ``occurrences`` counts those whose ids are made."""

    layout: Layout
    columns: Columns
    playbook: Playbook
    times: Times
    occurrences: Occurrences

    def event(self, row: Row, now: int) -> Event | Invalid:
        """Return the event of a row; ``now`` is the time in microseconds since 1970."""
        wrong: list[Violation] = []
        incoming = self._incoming(row.cells, wrong)
        checked = check(incoming, self.playbook, now)
        found = {violation.field for violation in wrong}
        if isinstance(checked, Invalid):
            wrong += [violation for violation in checked.violations if violation.field not in found]
        if wrong or isinstance(checked, Invalid):
            return Invalid(tuple(wrong))
        return checked if self.columns.event_id else self._identified(checked, row.cells)

    def _incoming(self, cells: Mapping[str, object], wrong: list[Violation]) -> IncomingEvent:
        columns = self.columns
        event_type = self.layout.constant_type or ""
        if columns.type is not None:
            event_type = self._text("type", cells[columns.type], wrong)
            event_type = self.layout.types.get(event_type, event_type)
        return IncomingEvent(
            event_id=self._text("event_id", cells[columns.event_id], wrong) if columns.event_id else _UNMADE,
            customer_id=self._text("customer_id", cells[columns.customer_id], wrong),
            type=event_type,
            event_time=self._moment(cells[columns.event_time], wrong),
            attributes=self._attributes(event_type, cells, wrong),
        )

    def _text(self, field: str, cell: object, wrong: list[Violation]) -> str:
        try:
            return "" if is_empty_text(cell) else read_text(cell)
        except ValueError as error:
            wrong.append(Violation(field, str(error)))
            return ""

    def _moment(self, cell: object, wrong: list[Violation]) -> Moment | None:
        try:
            return None if is_empty(cell) else _moment(self.times.read(cell))
        except ValueError as error:
            wrong.append(Violation("event_time", str(error)))
            return None

    def _attributes(
        self, event_type: str, cells: Mapping[str, object], wrong: list[Violation]
    ) -> dict[str, object]:
        event = self.playbook.events.events.get(event_type)
        declared = {} if event is None else event.attributes
        given = {
            name: cell
            for name, column in self.columns.attributes.items()
            if not is_empty_value(declared.get(name), cell := cells[column])
        }
        for name, cell in list(given.items()):
            if name in declared:
                try:
                    given[name] = read_value(declared[name], cell, self.times)
                except ValueError as error:
                    wrong.append(Violation(f"attributes.{name}", str(error)))
                    del given[name]
        return given

    def _identified(self, event: Event, cells: Mapping[str, object]) -> Event:
        """Give an event an id of what it is made of, the same whatever format its row came in."""
        content = {
            self.columns.customer_id: event.customer_id,
            self.columns.event_time: event.event_time,
            **({} if self.columns.type is None else {self.columns.type: event.type}),
        }
        made_of = self.layout.event_id_from
        if isinstance(made_of, tuple):
            parts = [content[name] if name in content else _plain(cells[name]) for name in made_of]
        else:
            parts = [event.customer_id, event.type, event.event_time, event.attributes]
        return replace(event, event_id=self.occurrences.identify(parts))


def _moment(micros: int) -> Moment:
    seconds, rest = divmod(micros, 1_000_000)
    return Moment(seconds, rest * 1_000)


def _plain(cell: object) -> str:
    return "" if is_empty(cell) else str(cell)
