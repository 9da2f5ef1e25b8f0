"""What followed decisions, customer by customer, whether anything was offered or not.

Intention to treat: an event that is an outcome counts for every customer about whom was decided while
the action was a candidate, those who were left alone and those of the hold-out included. Several ids are
one customer who are linked by now, or were when one of these decisions was made.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.engine.features.history import StoredEvent
from training.data.decided import Decided, Reported
from training.data.families import Families
from training.data.outcomes import Mark, Outcomes, Window
from training.data.trail import Trail
from training.evaluation.arms import Customer


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """The customers in order of their ids, the ``decisions`` about them, and what was left out.

    Of a customer with several ids the least that was asked for tells its place.
    Left out are decisions about ``nobody`` and those that are ``open``: their outcome may still come.
    ``moved`` customers were in several arms; each counts in the first. ``by_report`` counts successes
    that were reported, by action; ``by_event`` reports of success that do not count, as the action's
    success is an event.
    """

    customers: Sequence[Customer]
    decisions: Sequence[Decided]
    nobody: int
    open: int
    moved: int
    by_report: Mapping[str, int]
    by_event: Mapping[str, int]


def follow(
    decisions: Iterable[Decided],
    reports: Iterable[Reported],
    events: Iterable[tuple[str, StoredEvent]],
    outcomes: Outcomes,
    until: int,
    families: Families | None = None,
) -> Aftermath:
    """Find what followed the decisions whose windows had closed by ``until``, in microseconds.

    The success of a decision is the first event in the window of a candidate, and is worth the
    action's value; one that several decisions find counts once. Where an action's group declares no
    event, each treatment reported as accepted is a success, worth what was logged. A treatment costs
    once, where a report shows that it arrived. ``families`` tells who is one customer by now; without it
    nobody is linked.
    """
    counted: list[tuple[Decided, list[Window]]] = []
    nobody = still_open = 0
    for decided in decisions:
        windows = list(outcomes.windows(decided.playbook_version, decided.candidates, decided.time))
        if not decided.customer_id:
            nobody += 1
        elif max([decided.time + (outcomes.patience or 0), *(one.end for one in windows)]) > until:
            still_open += 1
        else:
            counted.append((decided, windows))
    then = ((member, decided.customer_id) for decided, _ in counted for member in decided.members)
    root = (families or Families()).joined(then).root
    trails = defaultdict[str, Trail](lambda: Trail(outcomes))
    for decided, windows in counted:
        trails[root(decided.customer_id)].add_decision(decided, windows)
    _add_reports(trails, reports, outcomes.patience, until, root)
    _add_events(trails, events, outcomes, root)
    ordered = sorted(trails.values(), key=lambda trail: min(one.customer_id for one in trail.decisions))
    customers = [trail.customer() for trail in ordered]
    return Aftermath(
        customers=customers,
        decisions=[decided for trail in ordered for decided in trail.decisions],
        nobody=nobody,
        open=still_open,
        moved=sum(len({one.arm for one in trail.decisions}) > 1 for trail in ordered),
        by_report=_total(trail.by_report for trail in ordered),
        by_event=_total(trail.by_event for trail in ordered),
    )


def _add_reports(
    trails: Mapping[str, Trail],
    reports: Iterable[Reported],
    patience: int | None,
    until: int,
    root: Callable[[str], str],
) -> None:
    closed = {one.decision_id: one for trail in trails.values() for one in trail.decisions}
    for report in reports:
        decided = closed.get(report.decision_id)
        if decided is None or report.time > until:
            continue
        if patience is None or report.time < decided.time + patience:
            trails[root(decided.customer_id)].add_report(report)


def _add_events(
    trails: Mapping[str, Trail],
    events: Iterable[tuple[str, StoredEvent]],
    outcomes: Outcomes,
    root: Callable[[str], str],
) -> None:
    versions = {decided.playbook_version for trail in trails.values() for decided in trail.decisions}
    matches: dict[str, set[str]] = {}
    for mark in (one for version in versions for one in outcomes.marks(version)):
        matches.setdefault(mark.event, set()).add(mark.match)
    for customer_id, event in events:
        if (trail := trails.get(root(customer_id))) is None:
            continue
        for match in matches.get(event.type, ()):
            if isinstance(action_id := event.attributes.get(match), str):
                trail.add_event(Mark(event.type, match, action_id), event.event_time)


def _total(counts: Iterable[Counter[str]]) -> Mapping[str, int]:
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return total
