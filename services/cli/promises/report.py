"""The report on promises: from openings and what closed them to figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.cli.customer_stores import events_store, families_in, profile_store
from services.cli.failure import Failure
from services.engine.features.history import History, StoredEvent
from services.engine.features.open import spans
from services.engine.playbook.kinds import Open
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.schema.policies import Promise
from services.engine.playbook.store import opened
from training.data.families import Families
from training.data.stores import Store, events_in
from training.evaluation.intervals import Estimate, share
from training.refusal import Refused

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to report on: openings in ``[since, until)``, by what was known at ``until``.

    Times are microseconds since 1970; without ``since``, all before ``until``. ``playbook`` is what
    services would be set to. ``folder`` holds the stores as files; None where the settings of services say
    where they are.
    """

    home: Path
    folder: Path | None = None
    playbook: Path | None = None
    since: int | None = None
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How one promise was kept: each opening is kept, late, overdue or pending.

    ``late`` ones were closed after the limit, ``overdue`` ones are open beyond it, ``pending`` ones are
    open and in time. ``keyless`` events opened nothing that could be closed, and are none of these.
    ``lengths`` are the times to close, in microseconds, the shortest first.
    """

    promise: Promise
    kept: int
    late: int
    overdue: int
    pending: int
    keyless: int
    lengths: Sequence[int]

    @property
    def opened(self) -> int:
        """All openings."""
        return self.kept + self.late + self.overdue + self.pending

    @property
    def broken(self) -> int:
        """Those whose limit passed while they were open, closed by now or not."""
        return self.late + self.overdue

    @property
    def open(self) -> int:
        """Those that are open, overdue ones included."""
        return self.overdue + self.pending

    @property
    def hit_rate(self) -> Estimate | None:
        """The share of kept ones among those that are kept or broken; None where there are none."""
        return share(self.kept, self.kept + self.broken)

    def closed_within(self, part: float) -> timedelta | None:
        """Return the least time within which so large a part of what was closed was; None of nothing."""
        if not self.lengths:
            return None
        return _MICROSECOND * self.lengths[max(0, math.ceil(part * len(self.lengths)) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """A promise whose events only consents let be looked at, which the event store does not know."""

    promise: Promise
    consents: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of each promise of a playbook, in the order of declaration.

    ``is_linked`` tells whether links were at hand.
    """

    question: Question
    playbook: Playbook
    promises: Sequence[Tally | Unmeasured]
    is_linked: bool


def make(question: Question) -> Report:
    """Make the report.

    Raises:
        Failure: the playbook promises nothing, or the events cannot be read.
        PlaybookError: the playbook does not load.
        VersionRefused: no version of it can be used.
    """
    playbook, _ = opened(question.playbook, question.home)
    if not playbook.policies.promises:
        raise Failure(f'playbook "{playbook.head.name}" promises nothing; say --playbook FOLDER for another')
    measured = {
        promise.name: feature
        for promise in playbook.policies.promises
        if isinstance(feature := playbook.features[promise.feature], Open)
        and promise.feature not in playbook.feature_consents
    }
    types = {event for each in measured.values() for event in each.event_types}
    try:
        families = families_in(profile_store(folder=question.folder))
        histories = _histories(events_store(folder=question.folder), types, families or Families())
    except Refused as error:
        raise Failure(str(error)) from None
    return Report(
        question=question,
        playbook=playbook,
        promises=[
            tally(promise, measured[promise.name], histories, question.since, question.until)
            if promise.name in measured
            else Unmeasured(promise=promise, consents=sorted(playbook.feature_consents[promise.feature]))
            for promise in playbook.policies.promises
        ],
        is_linked=families is not None,
    )


def tally(
    promise: Promise, definition: Open, histories: Iterable[History], since: int | None, until: int
) -> Tally:
    """Count the openings in ``[since, until)`` of all customers, by what was known at ``until``.

    They count however long ago they were opened, also where the feature's window has forgotten them.
    """
    limit = promise.within // _MICROSECOND
    kept = late = overdue = pending = keyless = 0
    lengths: list[int] = []
    for history in histories:
        keyless += _keyless(definition, history, since, until)
        for span in spans(definition, history, until):
            if since is not None and span.opened < since:
                continue
            if span.closed is None or span.closed >= until:
                is_over = until - span.opened > limit
                overdue, pending = overdue + is_over, pending + (not is_over)
                continue
            lengths.append(span.closed - span.opened)
            is_kept = lengths[-1] <= limit
            kept, late = kept + is_kept, late + (not is_kept)
    return Tally(
        promise=promise,
        kept=kept,
        late=late,
        overdue=overdue,
        pending=pending,
        keyless=keyless,
        lengths=sorted(lengths),
    )


def _keyless(definition: Open, history: History, since: int | None, until: int) -> int:
    openings = history.of(definition.event).where(definition.where).events
    return sum(
        definition.key not in event.attributes
        and event.event_time < until
        and (since is None or event.event_time >= since)
        for event in openings
    )


def _histories(store: Store, types: set[str], families: Families) -> list[History]:
    events: dict[str, list[StoredEvent]] = {}
    for customer_id, event in events_in(store).events(types=types):
        events.setdefault(families.root(customer_id), []).append(event)
    return [History(found) for found in events.values()]
