"""The report on control arms: from what is on record to figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.cli.arms.reading import Playbooks, decisions, reports
from services.cli.customer_stores import events_store, families_in, profile_store
from services.cli.decision_log import home_of, reader_of
from services.cli.failure import Failure
from services.engine.instants import instant
from training.data.aftermath import Aftermath, follow
from training.data.decided import Decided
from training.data.families import Families
from training.data.outcomes import Outcomes
from training.data.stores import events_in, store_of
from training.evaluation.arms import Arm, compare_arms
from training.refusal import Refused

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to report on; times are microseconds since 1970, None where left to the log.

    Decisions count from ``since`` on and where their windows had closed by ``until``. ``within`` is how
    long reports are waited for, None for no matter how long. ``every`` looks at mandatory and
    transactional actions too. ``events`` and ``profiles`` name stores, None those beside a log that is
    named, else those of the services.
    """

    log: str | None = None
    live: bool = True
    since: int | None = None
    until: int | None = None
    within: timedelta | None = None
    every: bool = False
    playbook: Path | None = None
    events: str | None = None
    profiles: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The arms, no arm first, of decisions made from ``since`` on, by what was known at ``until``.

    ``earlier`` decisions were made before the time asked about, ``damaged`` records are not as they were
    written. ``changed`` names arms whose share was another at some time, so that no split is expected.
    ``lacking`` counts decisions by playbooks that are not at hand. ``is_linked`` tells whether links were.
    """

    question: Question
    playbook: str
    version: str
    currency: str
    since: int
    until: int
    earlier: int
    damaged: int
    aftermath: Aftermath
    arms: Sequence[Arm]
    changed: Sequence[str]
    lacking: int
    is_linked: bool


def make(question: Question) -> Report:
    """Make the report.

    Raises:
        Failure: a store cannot be read, or no decision is left to report on.
        PlaybookError: the playbook named does not load.
    """
    read = list(decisions(question.log, live=question.live))
    if not read:
        kind = "live decisions yet; dry runs are told of with --dry" if question.live else "dry runs"
        raise Failure(f"{reader_of(question.log).name} holds no {kind}")
    home = home_of(question.log)
    playbooks = Playbooks(question.playbook, home)
    made = [one for one in read if one is not None]
    asked = [one for one in made if question.since is None or one.time >= question.since]
    _check_at_hand(asked, playbooks)
    folder = home if question.log and isinstance(store_of(question.log), Path) else None
    try:
        profiles = profile_store(question.profiles, folder)
        families = families_in(profiles, is_named=question.profiles is not None)
        until, aftermath = _follow(question, folder, asked, playbooks, families)
    except Refused as error:
        raise Failure(str(error)) from None
    damaged, earlier, counted = len(read) - len(made), len(made) - len(asked), aftermath.decisions
    if not counted:
        raise Failure(
            f"none of {len(read)} decisions can be told of as known at {instant(until)}: "
            f"{aftermath.nobody} are about nobody known, {aftermath.open} wait for an outcome that may still "
            f"come, {earlier} were made before --since, {damaged} are damaged on record"
        )
    expected = _expected(counted, playbooks)
    return Report(
        question=question,
        playbook=playbooks.current.head.name,
        version=playbooks.current.version,
        currency=_currency(counted, playbooks),
        since=min(one.time for one in counted),
        until=until,
        earlier=earlier,
        damaged=damaged,
        aftermath=aftermath,
        arms=compare_arms(aftermath.customers, expected),
        changed=sorted(name for name, share in expected.items() if share is None),
        lacking=sum(playbooks.lacks(one.playbook_version) for one in counted),
        is_linked=families is not None,
    )


def _follow(
    question: Question,
    folder: Path | None,
    asked: Sequence[Decided],
    playbooks: Playbooks,
    families: Families | None,
) -> tuple[int, Aftermath]:
    """Return what followed, and by when; left to the log, that is the newest time on record."""
    told = list(reports(question.log)) if question.live else []
    patience = None if question.within is None else question.within // _MICROSECOND
    outcomes = Outcomes(playbooks.of, every=question.every, patience=patience)
    types = {mark.event for version in _versions(asked) for mark in outcomes.marks(version)}
    store = events_store(question.events, folder)
    if types and isinstance(store, Path) and not store.is_file():
        raise Failure(
            f"outcomes of the playbook are events, and there is no store of events {store}: say --events FILE"
        )
    reader = events_in(store)
    until = question.until
    if until is None:
        last = reader.last_event_time() if types else None
        until = max([*(one.time for one in asked), *(one.time for one in told), last or 0])
    events = reader.events(types=types) if types else ()
    return until, follow(asked, told, events, outcomes, until, families)


def _check_at_hand(asked: Iterable[Decided], playbooks: Playbooks) -> None:
    """Refuse a playbook that has nothing to do with the log."""
    lacking = [one for one in asked if one.candidates and playbooks.lacks(one.playbook_version)]
    if lacking and not any(one.candidates & playbooks.current.actions.keys() for one in lacking):
        raise Failure(
            f"decisions were made by version {lacking[-1].playbook_version[:12]} of a playbook, which is not "
            f'at hand, and playbook "{playbooks.current.head.name}" knows none of their actions: '
            "say --playbook FOLDER"
        )


def _expected(counted: Iterable[Decided], playbooks: Playbooks) -> Mapping[str, float | None]:
    """Return each arm's share as all versions declare it and all decisions log it; None where they differ."""
    declared = [
        dict[str, float](playbooks.of(version).head.control_arms.items()) for version in _versions(counted)
    ]
    shares = {arm: {arms.get(arm, 0.0) for arms in declared} for arm in set[str]().union(*declared)}
    for one in counted:
        if one.arm:
            shares.setdefault(one.arm, {0.0}).add(one.arm_share)
    return {arm: min(found) if len(found) == 1 else None for arm, found in shares.items()}


def _currency(counted: Iterable[Decided], playbooks: Playbooks) -> str:
    found = {playbooks.of(version).head.currency for version in _versions(counted)}
    found |= {offered.currency for one in counted for offered in one.offered}
    if len(found) > 1:
        names = " and ".join(sorted(found))
        raise Failure(f"amounts in {names} cannot be added: say --since or --until to tell of one of them")
    return found.pop()


def _versions(made: Iterable[Decided]) -> set[str]:
    return {one.playbook_version for one in made}
