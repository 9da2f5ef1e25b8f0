"""What the feature service does, whatever the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.chassis.editions import Editions
from services.chassis.tables import InvalidRow, Page
from services.engine import moments
from services.engine.features.feature_set import FeatureSet, Vector, farther
from services.engine.features.history import History
from services.engine.playbook.playbook import Playbook
from services.engine.violations import (
    LONGEST_ID,
    Invalid,
    InvalidRequest,
    Violation,
    check_count,
    check_text,
    unknown,
)
from services.features.domain.events import Event, IncomingEvent, check
from services.features.domain.placement import Placed, Placement
from services.features.domain.states import Reach
from services.features.histories import Asked, Histories
from services.features.metrics import FeatureMetrics
from services.features.ports import DeadLetters, Described, EventStore, StateStore

# Checking so many events takes a few milliseconds; then other calls have their turn.
_EVENTS_IN_A_ROW: Final = 100
_MOST_SUGGESTIONS: Final = 10
_IDS_AT_ONCE: Final = 100
MOST_MEMBERS: Final = 1_000
MOST_EVENTS_HELD: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One customer to read, as a caller asked: nothing is checked."""

    customer_id: str
    as_of_time: moments.Moment | None
    action_ids: Sequence[str]
    member_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """One customer's features: the customer's, their ages, and one row for each action."""

    customer: Vector
    ages: Vector
    candidates: Vector
    as_of_sequence: int


class PlaybookVersionUnknown(Exception):
    """The caller works with another playbook."""

    def __init__(self, version: str, held: Iterable[str]) -> None:
        self.held = ", ".join(held)
        super().__init__(f"playbook version {version:.64} is not held; held: {self.held}")


class SequenceNotReached(Exception):
    """The store has not come as far as the caller demands."""

    def __init__(self, sequence: int, newest: int) -> None:
        super().__init__(f"sequence {sequence} is not reached, the store is at {newest}")


class Edition(NamedTuple):
    """One version of a playbook, and its features ready to compute."""

    playbook: Playbook
    features: FeatureSet


class FeatureHandlers:
    """Handles every call of the feature service; ``now`` returns UTC microseconds since 1970.

    ``most_events`` of one customer are held as state; ``letters`` are there where events come from a stream.
    """

    def __init__(
        self,
        store: EventStore,
        state: StateStore,
        playbook: Playbook,
        now: Callable[[], int],
        metrics: FeatureMetrics,
        most_events: int = MOST_EVENTS_HELD,
        letters: DeadLetters | None = None,
    ) -> None:
        self._editions = Editions(playbook.version, Edition(playbook, FeatureSet(playbook)))
        self._store = store
        self._state = state
        self._letters = letters
        self._histories = Histories(store, state, most_events, metrics)
        self.most_events = most_events
        self._now = now
        self._metrics = metrics
        metrics.playbook.show(playbook.head.name, playbook.version)

    @property
    def current(self) -> Edition:
        """Return what is in use."""
        return self._editions.current

    async def take(self, playbook: Playbook) -> None:
        """Work by another playbook from the next call on; reads that carry one of the last still get it.

        What is stored and cached is of every playbook, and stays.
        """
        edition = await asyncio.to_thread(_proven, playbook, self._now())
        self._editions.take(playbook.version, edition)
        self._metrics.playbook.show(playbook.head.name, playbook.version)

    async def ingest(self, incoming: Iterable[IncomingEvent]) -> tuple[list[Placement | Invalid], int]:
        """Store events; answer each in order, and the store's newest sequence after them.

        ``incoming`` is consumed bit by bit, between which other calls run.
        """
        now, playbook = self._now(), self.current.playbook
        checked: list[Event | Invalid] = []
        for event in incoming:
            checked.append(check(event, playbook, now))
            if len(checked) % _EVENTS_IN_A_ROW == 0:
                await asyncio.sleep(0)
        appended = await self._store.append([event for event in checked if isinstance(event, Event)])
        placements = iter(appended.answers)
        answers = [next(placements) if isinstance(event, Event) else event for event in checked]
        self._count(answers)
        self._metrics.sequence.set(appended.newest)
        return answers, appended.newest

    async def vectors(
        self, keys: Sequence[Key], playbook_version: str, min_sequence: int
    ) -> tuple[list[Vectors | Invalid], str]:
        """Compute the features of each customer as of its time; return the fingerprint of the layout too.

        Raises:
            InvalidRequest: the version is empty or the sequence negative.
            PlaybookVersionUnknown: the version is none of the last ones.
            SequenceNotReached: the store is behind ``min_sequence``.
        """
        edition = self._edition(playbook_version, min_sequence)
        # Before anything is waited for, as this version may be let go of meanwhile.
        reach = self._reach()
        if min_sequence and (newest := await self._store.newest()) < min_sequence:
            raise SequenceNotReached(min_sequence, newest)
        now = self._now()
        answers: list[Vectors | Invalid] = []
        for portion in _portions(keys):
            checked = [_asked(edition, key, now) for key in portion]
            valid = [asked for asked in checked if isinstance(asked, Asked)]
            snapshots = iter(await self._histories.read(valid, reach))
            for key, asked in zip(portion, checked, strict=True):
                if answers:
                    await asyncio.sleep(0)
                if isinstance(asked, Invalid):
                    answers.append(asked)
                    continue
                history, sequence = next(snapshots)
                answers.append(_compute(edition.features, history, asked.as_of, key.action_ids, sequence))
        return answers, edition.features.served_fingerprint

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return a page of what happened under ids of a customer.

        Raises:
            InvalidRequest: an id is none, there are too many, or the token is none of an export.
        """
        _check_ids(customer_ids)
        try:
            return await self._store.export(customer_ids, page_token)
        except InvalidRow as error:
            raise InvalidRequest(Violation("page_token", str(error))) from None

    async def erase(self, customer_ids: Sequence[str]) -> Mapping[str, int]:
        """Remove what happened under ids of a customer; return how many rows there were by table.

        Raises:
            InvalidRequest: an id is none, or there are too many.
        """
        _check_ids(customer_ids)
        letters = {} if self._letters is None else {"dead_letters": await self._letters.erase(customer_ids)}
        erased = await self._store.erase(customer_ids, self._now)
        await self._state.forget(customer_ids, erased.sequence)
        return {**erased.rows, **letters}

    async def describe(self) -> Described:
        """Tell what state is held."""
        return await self._state.describe()

    async def newest(self) -> int:
        """Return the store's newest sequence."""
        return await self._store.newest()

    async def warm_up(self) -> None:
        """Compute every feature once, and read the store."""
        _warm(self.current, self._now())
        self._metrics.sequence.set(await self._store.newest())

    def _reach(self) -> Reach:
        """Return how far back the features of all versions that are held look."""
        found: dict[str, int | None] = {}
        for edition in self._editions.held:
            for event_type, back in edition.features.reach.items():
                found[event_type] = farther(back, found.get(event_type, 0))
        return found

    def _edition(self, playbook_version: str, min_sequence: int) -> Edition:
        violations = []
        if not playbook_version:
            violations.append(Violation("playbook_version", "must be set"))
        if min_sequence < 0:
            violations.append(Violation("min_sequence", "must not be negative"))
        if violations:
            raise InvalidRequest(*violations)
        if (edition := self._editions.get(playbook_version)) is None:
            raise PlaybookVersionUnknown(playbook_version, self._editions.versions)
        return edition

    def _count(self, answers: Iterable[Placement | Invalid]) -> None:
        counts = {"stored": 0, "duplicate": 0, "reused": 0, "invalid": 0}
        for answer in answers:
            if isinstance(answer, Placed):
                counts["duplicate" if answer.duplicate else "stored"] += 1
            else:
                counts["invalid" if isinstance(answer, Invalid) else "reused"] += 1
        for result, count in counts.items():
            self._metrics.events.labels(result).inc(count)


def _portions(keys: Sequence[Key]) -> Iterator[list[Key]]:
    """Yield keys in order, a few customer ids at once."""
    portion: list[Key] = []
    ids = 0
    for key in keys:
        portion.append(key)
        ids += 1 + len(key.member_ids)
        if ids >= _IDS_AT_ONCE:
            yield portion
            portion, ids = [], 0
    if portion:
        yield portion


def _asked(edition: Edition, key: Key, now: int) -> Asked | Invalid:
    violations: list[Violation] = []
    check_text("customer_id", key.customer_id, violations, least=1, most=LONGEST_ID)
    _check_texts("member_ids", key.member_ids, violations)
    as_of = now
    try:
        as_of = now if key.as_of_time is None else moments.as_of(key.as_of_time)
    except ValueError as error:
        violations.append(Violation("as_of_time", str(error)))
    for index, action_id in enumerate(key.action_ids):
        if action_id not in (known := edition.playbook.actions):
            # Looking for the nearest name is slow, so only the first violations get it.
            near = known if len(violations) < _MOST_SUGGESTIONS else ()
            violations.append(Violation(f"action_ids[{index}]", unknown(action_id, near)))
    if violations:
        return Invalid(tuple(violations))
    return Asked(tuple({key.customer_id, *key.member_ids}), as_of)


def _check_ids(customer_ids: Sequence[str]) -> None:
    violations: list[Violation] = []
    if not customer_ids:
        violations.append(Violation("customer_ids", "must not be empty"))
    _check_texts("customer_ids", customer_ids, violations)
    if violations:
        raise InvalidRequest(*violations)


def _check_texts(field: str, ids: Sequence[str], violations: list[Violation]) -> None:
    if check_count(field, len(ids), MOST_MEMBERS, violations):
        for index, each in enumerate(ids):
            check_text(f"{field}[{index}]", each, violations, least=1, most=LONGEST_ID)


def _proven(playbook: Playbook, now: int) -> Edition:
    """Make an edition that has computed once."""
    edition = Edition(playbook, FeatureSet(playbook))
    _warm(edition, now)
    return edition


def _warm(edition: Edition, now: int) -> None:
    _compute(edition.features, History(()), now, list(edition.playbook.actions), 0)


def _compute(
    features: FeatureSet, history: History, as_of: int, action_ids: Sequence[str], sequence: int
) -> Vectors:
    return Vectors(
        customer=features.customer_vector(history, as_of),
        ages=features.customer_ages(history, as_of),
        candidates=features.candidate_vectors(history, as_of, action_ids),
        as_of_sequence=sequence,
    )
