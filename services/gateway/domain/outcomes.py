"""What happened after decisions, and what becomes of each report of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from services.gateway.domain.ledger import Standing

Verdict = Literal["accepted", "duplicate", "reused", "unknown", "erased"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeReport:
    """One outcome; ``kind`` is the name of the enum value without prefix, ``measures`` are by name.

    ``instead_action_id`` and ``actor_id`` tell what a person did who overrode the decision; rank 0 is an
    answer without actions.
    """

    outcome_id: str
    decision_id: str
    rank: int
    kind: str
    outcome_time: datetime
    measures: Mapping[str, float] = field(default_factory=dict)
    instead_action_id: str = ""
    actor_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A live decision that outcomes are about: its ranked actions, in order.

    ``actions`` is their number; of decisions from before the ledger ``standings`` are not known.
    """

    customer_id: str
    actions: int
    standings: Sequence[Standing] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What becomes of reports: a verdict on each, and what is to be written.

    ``moved`` holds the contacts that they changed, by decision and rank; ``unclaimed`` counts
    deliveries that nobody had claimed.
    """

    verdicts: list[Verdict]
    fresh: list[OutcomeReport]
    moved: Mapping[tuple[str, int], Standing]
    unclaimed: int


def settle(
    reports: Iterable[OutcomeReport],
    known: Mapping[str, OutcomeReport],
    decisions: Mapping[str, Answered],
    erased: Collection[str],
) -> Settled:
    """Decide on each report, in order.

    ``known`` holds the reports on record of the same outcomes, ``decisions`` each live decision named,
    ``erased`` the ids of those that were erased.
    """
    seen = dict(known)
    verdicts: list[Verdict] = []
    fresh: list[OutcomeReport] = []
    moved: dict[tuple[str, int], Standing] = {}
    unclaimed = 0
    for report in reports:
        decision = decisions.get(report.decision_id)
        if (standing := seen.get(report.outcome_id)) is not None:
            verdicts.append("duplicate" if standing == report else "reused")
        elif report.decision_id in erased:
            verdicts.append("erased")
        elif decision is None or not _has(decision, report.rank):
            verdicts.append("unknown")
        else:
            seen[report.outcome_id] = report
            fresh.append(report)
            verdicts.append("accepted")
            unclaimed += _tell(report, decision, moved)
    return Settled(verdicts=verdicts, fresh=fresh, moved=moved, unclaimed=unclaimed)


def _has(decision: Answered, rank: int) -> bool:
    return rank <= decision.actions and (rank > 0 or decision.actions == 0)


def _tell(report: OutcomeReport, decision: Answered, moved: dict[tuple[str, int], Standing]) -> bool:
    """Note the contact that an outcome tells of; return whether it is a delivery without a claim."""
    if not 0 < report.rank <= len(decision.standings):
        return False
    key = (report.decision_id, report.rank)
    before = moved.get(key) or decision.standings[report.rank - 1]
    after = before.told(report.kind, report.outcome_time)
    if after is before:
        return False
    moved[key] = after
    return not after.offer.is_inbound
