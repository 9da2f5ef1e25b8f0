"""What is waited for after a decision, by the version of the playbook that made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Final, NamedTuple

from services.engine.instants import instant, microseconds
from services.engine.playbook.playbook import Playbook

_IGNORE_ARMS: Final = ("mandatory", "transactional")


class Mark(NamedTuple):
    """What an event must be to be an outcome: of a type, with the action's id as an attribute."""

    event: str
    match: str
    action_id: str


class Window(NamedTuple):
    """When an outcome by event must come, ``[start, end)`` in microseconds; worth ``value`` micros."""

    mark: Mark
    start: int
    end: int
    value: int


class Outcomes:
    """Tells what decisions wait for.

    ``playbook_of`` returns the playbook of a version. Actions that ignore control arms are not looked
    at unless ``every`` is true. ``patience`` is how long reports are waited for, in microseconds;
    None means that no decision waits for one and all count.
    """

    def __init__(
        self, playbook_of: Callable[[str], Playbook], *, every: bool = False, patience: int | None = None
    ) -> None:
        self.playbook_of = playbook_of
        self.patience = patience
        self._every = every
        # There are few versions and actions, and very many decisions.
        self.mark = cache(self._mark)
        self.is_counted = cache(self._is_counted)

    def marks(self, version: str) -> Iterator[Mark]:
        """Yield every event that is an outcome under a version."""
        for action_id in self.playbook_of(version).actions:
            if (mark := self.mark(version, action_id)) is not None:
                yield mark

    def windows(self, version: str, action_ids: Iterable[str], time: int) -> Iterator[Window]:
        """Yield the windows that a decision opens, one for each action whose outcome is an event."""
        playbook, exposure = self.playbook_of(version), instant(time)
        for action_id in action_ids:
            if (mark := self.mark(version, action_id)) is None:
                continue
            if (end := playbook.outcome_end(action_id, exposure)) is not None:
                yield Window(mark, time, microseconds(end), playbook.actions[action_id].value)

    def _mark(self, version: str, action_id: str) -> Mark | None:
        """Return the event that is the outcome of an action; None where it is reported, or not counted."""
        playbook = self.playbook_of(version)
        if action_id not in playbook.actions or not self.is_counted(version, action_id):
            return None
        outcome = playbook.outcome_of(action_id)
        return None if outcome is None else Mark(outcome.event, outcome.match, action_id)

    def _is_counted(self, version: str, action_id: str) -> bool:
        action = self.playbook_of(version).actions.get(action_id)
        return self._every or action is None or action.action_class not in _IGNORE_ARMS
