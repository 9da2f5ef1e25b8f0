"""Records what happened after decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tact.errors.v1 import errors_pb2

from services.chassis import faults
from services.chassis.faults import Fault, FaultKind
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.schema.head import Measure
from services.engine.violations import LONGEST_ID, Violation, check_count, check_text, shorten, unknown
from services.gateway.archive import erased
from services.gateway.domain.outcomes import OutcomeReport, Verdict
from services.gateway.domain.request import EARLIEST
from services.gateway.ports import DecisionLog, LogFull, NotLogged

OVERRIDDEN: Final = "OVERRIDDEN"
MOST_AHEAD: Final = timedelta(minutes=5)
# Checking so many outcomes takes about a millisecond; then other calls have their turn.
_OUTCOMES_IN_A_ROW: Final = 100
_MOST_MEASURES: Final = 20
# Looking for the nearest right name takes long, and a caller may send very many wrong ones.
_MOST_SUGGESTIONS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One outcome as a caller told it; nothing is checked, None stands for what is absent or unreadable."""

    outcome_id: str
    decision_id: str
    rank: int
    kind: str | None
    outcome_time: datetime | None
    measures: Mapping[str, float]
    instead_action_id: str = ""
    actor_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeHandler:
    """Answers ``RecordOutcomes``.

    ``playbook`` returns the one in use. ``now`` is UTC, ``observe`` sees the verdict and kind of each
    outcome, ``observe_unclaimed`` how many deliveries of a batch nobody had claimed.
    """

    log: DecisionLog
    playbook: Callable[[], Playbook]
    now: Callable[[], datetime]
    observe: Callable[[str, str], None]
    observe_unclaimed: Callable[[int], None]

    async def record(self, reports: Iterable[Reported]) -> list[bool | Fault]:
        """Write outcomes durably; each answer is "was a duplicate" or the fault of the item.

        ``reports`` is consumed bit by bit, between which other calls run.

        Raises:
            Fault: the queue is full or the store cannot be written; nothing is acknowledged then.
        """
        now, playbook = self.now(), self.playbook()
        checked: list[OutcomeReport | Fault] = []
        refused = 0
        for report in reports:
            checked.append(_check(report, playbook, now, suggest=refused < _MOST_SUGGESTIONS))
            refused += isinstance(checked[-1], Fault)
            if len(checked) % _OUTCOMES_IN_A_ROW == 0:
                await asyncio.sleep(0)
        sound = [report for report in checked if isinstance(report, OutcomeReport)]
        verdicts: Iterator[Verdict] = iter(())
        try:
            if sound:
                settled = await self.log.record_outcomes(sound, now)
                verdicts = iter(settled.verdicts)
                self.observe_unclaimed(settled.unclaimed)
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
        if verdict == "erased":
            return erased()
        if verdict == "reused":
            reason = errors_pb2.ERROR_REASON_IDENTIFIER_REUSED
            return Fault(FaultKind.ALREADY_EXISTS, reason, "outcome_id was used for another outcome")
        return verdict == "duplicate"

    def _refuse(self, fault: Fault) -> Fault:
        self.observe("invalid", "")
        return fault


def _check(report: Reported, playbook: Playbook, now: datetime, *, suggest: bool) -> OutcomeReport | Fault:
    kind, outcome_time = report.kind, report.outcome_time
    violations: list[Violation] = []
    check_text("outcome_id", report.outcome_id, violations, least=1, most=LONGEST_ID)
    check_text("decision_id", report.decision_id, violations, least=1, most=LONGEST_ID)
    least = 0 if kind == OVERRIDDEN else 1
    if report.rank < least:
        violations.append(Violation("rank", f"must be at least {least}"))
    if kind is None:
        violations.append(
            Violation("kind", "must be one of DELIVERED, VIEWED, ACCEPTED, REJECTED, OVERRIDDEN")
        )
    _check_override(report, playbook, violations, suggest)
    if outcome_time is None or not EARLIEST <= outcome_time <= now + MOST_AHEAD:
        violations.append(Violation("outcome_time", "must be set, from 2000 to five minutes ahead"))
    if check_count("measures", len(report.measures), _MOST_MEASURES, violations):
        violations.extend(_wrong(report.measures, playbook.head.measures, suggest))
    if violations or kind is None or outcome_time is None:
        return faults.invalid(*(faults.Violation(*violation) for violation in violations))
    return OutcomeReport(
        outcome_id=report.outcome_id,
        decision_id=report.decision_id,
        rank=report.rank,
        kind=kind,
        outcome_time=outcome_time,
        measures=report.measures,
        instead_action_id=report.instead_action_id,
        actor_id=report.actor_id,
    )


def _check_override(report: Reported, playbook: Playbook, violations: list[Violation], suggest: bool) -> None:
    """Check what only an override tells: what was done instead, and by whom."""
    instead, actor = report.instead_action_id, report.actor_id
    if report.kind != OVERRIDDEN:
        for field, word in (("instead_action_id", instead), ("actor_id", actor)):
            if word:
                violations.append(Violation(field, "belongs to OVERRIDDEN"))
        return
    check_text("actor_id", actor, violations, least=0, most=LONGEST_ID)
    if instead and instead not in playbook.actions:
        names = playbook.actions if suggest else ()
        violations.append(Violation("instead_action_id", unknown(shorten(instead), names)))


def _wrong(
    measures: Mapping[str, float], declared: Mapping[str, Measure], suggest: bool
) -> Iterator[Violation]:
    for name in sorted(measures):
        place = f"measures[{shorten(name)}]"
        if (measure := declared.get(name)) is None:
            yield Violation(place, unknown(name, declared if suggest else ()))
        elif not measure.least <= measures[name] <= measure.most:
            yield Violation(place, f"must lie from {measure.least:g} to {measure.most:g}")
