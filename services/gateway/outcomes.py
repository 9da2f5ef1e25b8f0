"""Records what happened after decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tact.errors.v1 import errors_pb2

from services.chassis import faults
from services.chassis.faults import Fault, FaultKind
from services.engine.violations import LONGEST_ID, Violation, check_text
from services.gateway.domain.outcomes import OutcomeReport, Verdict
from services.gateway.domain.request import EARLIEST
from services.gateway.ports import DecisionLog, LogFull, NotLogged

MOST_AHEAD: Final = timedelta(minutes=5)
# Checking so many outcomes takes about a millisecond; then other calls have their turn.
_OUTCOMES_IN_A_ROW: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One outcome as a caller told it; nothing is checked, None stands for what is absent or unreadable."""

    outcome_id: str
    decision_id: str
    rank: int
    kind: str | None
    outcome_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeHandler:
    """Answers ``RecordOutcomes``; ``now`` is UTC, ``observe`` sees the verdict and kind of each."""

    log: DecisionLog
    now: Callable[[], datetime]
    observe: Callable[[str, str], None]

    async def record(self, reports: Iterable[Reported]) -> list[bool | Fault]:
        """Write outcomes durably; each answer is "was a duplicate" or the fault of the item.

        ``reports`` is consumed bit by bit, between which other calls run.

        Raises:
            Fault: the queue is full or the store cannot be written; nothing is acknowledged then.
        """
        now = self.now()
        checked: list[OutcomeReport | Fault] = []
        for report in reports:
            checked.append(_check(report, now))
            if len(checked) % _OUTCOMES_IN_A_ROW == 0:
                await asyncio.sleep(0)
        sound = [report for report in checked if isinstance(report, OutcomeReport)]
        try:
            verdicts = iter(await self.log.record_outcomes(sound, now) if sound else [])
        except LogFull:
            reason = errors_pb2.ERROR_REASON_OVERLOADED
            raise Fault(FaultKind.OVERLOADED, reason, "the outcome store's queue is full") from None
        except NotLogged as error:
            reason = errors_pb2.ERROR_REASON_STORE_UNAVAILABLE
            raise Fault(FaultKind.UNAVAILABLE, reason, f"outcomes cannot be written: {error}") from None
        return [
            self._answer(report, next(verdicts))
            if isinstance(report, OutcomeReport)
            else self._refuse(report)
            for report in checked
        ]

    def _answer(self, report: OutcomeReport, verdict: Verdict) -> bool | Fault:
        self.observe(verdict, report.kind)
        if verdict == "unknown":
            reason = errors_pb2.ERROR_REASON_DECISION_UNKNOWN
            return Fault(FaultKind.NOT_FOUND, reason, "no live decision with this id has this rank")
        if verdict == "reused":
            reason = errors_pb2.ERROR_REASON_IDENTIFIER_REUSED
            return Fault(FaultKind.ALREADY_EXISTS, reason, "outcome_id was used for another outcome")
        return verdict == "duplicate"

    def _refuse(self, fault: Fault) -> Fault:
        self.observe("invalid", "")
        return fault


def _check(report: Reported, now: datetime) -> OutcomeReport | Fault:
    kind, outcome_time = report.kind, report.outcome_time
    violations: list[Violation] = []
    check_text("outcome_id", report.outcome_id, violations, least=1, most=LONGEST_ID)
    check_text("decision_id", report.decision_id, violations, least=1, most=LONGEST_ID)
    if report.rank < 1:
        violations.append(Violation("rank", "must be at least 1"))
    if kind is None:
        violations.append(Violation("kind", "must be one of DELIVERED, VIEWED, ACCEPTED, REJECTED"))
    if outcome_time is None or not EARLIEST <= outcome_time <= now + MOST_AHEAD:
        violations.append(Violation("outcome_time", "must be set, from 2000 to five minutes ahead"))
    if violations or kind is None or outcome_time is None:
        return faults.invalid(*(faults.Violation(*violation) for violation in violations))
    return OutcomeReport(
        outcome_id=report.outcome_id,
        decision_id=report.decision_id,
        rank=report.rank,
        kind=kind,
        outcome_time=outcome_time,
    )
