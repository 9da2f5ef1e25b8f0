"""What happened after decisions, and what becomes of each report of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Verdict = Literal["accepted", "duplicate", "reused", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeReport:
    """One outcome; ``kind`` is the name of the enum value without prefix, ``measures`` are by name."""

    outcome_id: str
    decision_id: str
    rank: int
    kind: str
    outcome_time: datetime
    measures: Mapping[str, float] = field(default_factory=dict)


def settle(
    reports: Iterable[OutcomeReport], known: Mapping[str, OutcomeReport], actions: Mapping[str, int]
) -> tuple[list[Verdict], list[OutcomeReport]]:
    """Decide on each report, in order, and return those to record.

    ``known`` holds the reports on record of the same outcomes, ``actions`` the number of actions of
    each live decision named.
    """
    seen = dict(known)
    verdicts: list[Verdict] = []
    fresh: list[OutcomeReport] = []
    for report in reports:
        if (standing := seen.get(report.outcome_id)) is not None:
            verdicts.append("duplicate" if standing == report else "reused")
        elif report.rank > actions.get(report.decision_id, 0):
            verdicts.append("unknown")
        else:
            seen[report.outcome_id] = report
            fresh.append(report)
            verdicts.append("accepted")
    return verdicts, fresh
