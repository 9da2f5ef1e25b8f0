"""One customer: decisions, what they wait for, what came, and what it was worth."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Final, NamedTuple

from training.data.decided import Decided, Offered, Reported
from training.data.outcomes import Mark, Outcomes, Window
from training.evaluation.arms import Customer

_MICROS: Final = 1_000_000
_ACCEPTED: Final = "ACCEPTED"
_ARRIVED: Final = frozenset({"DELIVERED", "VIEWED", _ACCEPTED, "REJECTED"})
"""Reports which show that a treatment reached its recipient, and so cost what it costs."""


class _Told(NamedTuple):
    """What was reported of one rank of a decision; ``offered`` is None of an empty answer."""

    version: str
    offered: Offered | None
    reports: Sequence[Reported]
    kinds: frozenset[str]


class Trail:
    """Collects what is on record of a customer.

    ``by_report`` counts successes that were reported, by action; ``by_event`` reports of success that
    do not count, as the action's success is an event.
    """

    def __init__(self, outcomes: Outcomes) -> None:
        self.decisions: list[Decided] = []
        self.by_report = Counter[str]()
        self.by_event = Counter[str]()
        self._outcomes = outcomes
        self._windows = defaultdict[Mark, list[Window]](list)
        self._events = defaultdict[Mark, list[int]](list)
        self._reports = defaultdict[tuple[str, int], list[Reported]](list)

    def add_decision(self, decided: Decided, windows: Iterable[Window]) -> None:
        """Take a decision and what it waits for."""
        self.decisions.append(decided)
        for window in windows:
            self._windows[window.mark].append(window)

    def add_event(self, mark: Mark, time: int) -> None:
        """Take an event, unless no decision waits for it."""
        if mark in self._windows:
            self._events[mark].append(time)

    def add_report(self, report: Reported) -> None:
        """Take a report of one of the decisions."""
        self._reports[report.decision_id, report.rank].append(report)

    def customer(self) -> Customer:
        """Sum up; the arm is that of the first decision."""
        told = list(self._told())
        successes = [*self._found(), *self._accepted(told)]
        costs = [one.offered.cost for one in told if one.offered and one.kinds & _ARRIVED]
        first = min(self.decisions, key=lambda one: (one.time, one.decision_id))
        return Customer(
            arm=first.arm,
            decisions=len(self.decisions),
            answered=sum(any(self._counted(decided)) for decided in self.decisions),
            reported=Counter(kind for one in told for kind in one.kinds),
            succeeded=bool(successes),
            value=(sum(successes) - sum(costs)) / _MICROS,
            measures=_measures(report for one in told for report in one.reports),
        )

    def _found(self) -> Iterator[int]:
        """Yield the value of each event that is the first in a window."""
        for mark, windows in self._windows.items():
            times, found = sorted(self._events[mark]), dict[int, int]()
            for window in windows:
                first = bisect_left(times, window.start)
                if first < len(times) and times[first] < window.end:
                    found.setdefault(first, window.value)
            yield from found.values()

    def _accepted(self, told: Iterable[_Told]) -> Iterator[int]:
        for one in told:
            if one.offered is None or _ACCEPTED not in one.kinds:
                continue
            if self._outcomes.mark(one.version, one.offered.action_id) is None:
                self.by_report[one.offered.action_id] += 1
                yield one.offered.value
            else:
                self.by_event[one.offered.action_id] += 1

    def _told(self) -> Iterator[_Told]:
        for decided in self.decisions:
            about: list[Offered | None] = [*self._counted(decided)] if decided.offered else [None]
            for offered in about:
                rank = 0 if offered is None else offered.rank
                if reports := self._reports.get((decided.decision_id, rank)):
                    kinds = frozenset(report.kind for report in reports)
                    yield _Told(decided.playbook_version, offered, reports, kinds)

    def _counted(self, decided: Decided) -> Iterator[Offered]:
        """Yield the actions of an answer that are looked at."""
        for one in decided.offered:
            if self._outcomes.is_counted(decided.playbook_version, one.action_id):
                yield one


def _measures(reports: Iterable[Reported]) -> Mapping[str, float]:
    found = defaultdict[str, list[float]](list)
    for report in reports:
        for name, number in report.measures.items():
            found[name].append(number)
    return {name: fmean(numbers) for name, numbers in found.items()}
