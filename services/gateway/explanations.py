"""Answers why: remakes a decision from its log record, without a hurry and without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

from tact.errors.v1 import errors_pb2

from services.chassis.faults import Fault, FaultKind, Violation, invalid
from services.engine.violations import LONGEST_ID, InvalidRequest, check_text
from services.engine.violations import Violation as Found
from services.gateway.contributions import Contributions
from services.gateway.domain.decision import Decision
from services.gateway.domain.making import Edition
from services.gateway.domain.outcomes import OutcomeReport
from services.gateway.domain.remaking import remaking
from services.gateway.ports import DecisionLog, Logged, NotLogged, Story
from services.gateway.resolver import Remaining

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainHandler:
    """Answers ``ExplainDecision``; it only reads.

    ``edition`` returns the playbook of a version, None where it is not at hand; ``recall`` opens a log
    record. One story is prepared at a time, and ``pause`` lets others have their turn after each
    bit of it.
    """

    log: DecisionLog
    contributions: Contributions
    edition: Callable[[str], Awaitable[Edition | None]]
    recall: Callable[[bytes], Story]
    pause: Callable[[], Awaitable[None]]
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def explain(self, decision_id: str, with_contributions: bool, remaining: Remaining) -> object:
        """Tell the story of a decision, live or dry.

        Raises:
            Fault: the id is no id or names no decision on record, its playbook is not at hand, or the
                log cannot be read.
        """
        violations: list[Found] = []
        check_text("decision_id", decision_id, violations, least=1, most=LONGEST_ID)
        if violations:
            raise invalid(*(Violation(*violation) for violation in violations))
        logged, outcomes = self._read(decision_id)
        async with self._turn:
            story = self.recall(logged.record)
            if not story.is_explained:
                await self._remake(story)
        missing = await self.contributions.tell(story, remaining) if with_contributions else ""
        return story.told(outcomes, missing)

    def _read(self, decision_id: str) -> tuple[Logged, list[OutcomeReport]]:
        try:
            logged = self.log.find(decision_id, live=True) or self.log.find(decision_id, live=False)
            outcomes = [] if logged is None else list(self.log.outcomes_of(decision_id))
        except NotLogged as error:
            raise Fault(
                FaultKind.UNAVAILABLE, errors_pb2.ERROR_REASON_STORE_UNAVAILABLE, str(error)
            ) from None
        if logged is None:
            reason = errors_pb2.ERROR_REASON_DECISION_UNKNOWN
            raise Fault(FaultKind.NOT_FOUND, reason, "no decision with this id is on record")
        return logged, outcomes

    async def _remake(self, story: Story) -> None:
        if (edition := await self.edition(story.playbook_version)) is None:
            raise _unknown(f"playbook version {story.playbook_version} is not held")
        decision = await self._decision(story, edition)
        if decision is None or not story.is_told_by(decision):
            raise _unknown("this version of Tact makes another decision of the record than it was")
        await self._politely(story.explain(decision, edition.playbook))

    async def _decision(self, story: Story, edition: Edition) -> Decision | None:
        if (recorded := await self._politely(story.recorded(edition))) is None:
            return None
        try:
            return await self._politely(remaking(edition, recorded))
        except InvalidRequest:
            return None

    async def _politely(self, steps: Generator[None, None, T]) -> T:
        while True:
            try:
                next(steps)
            except StopIteration as done:
                found: T = done.value
                return found
            await self.pause()


def _unknown(text: str) -> Fault:
    return Fault(FaultKind.PRECONDITION, errors_pb2.ERROR_REASON_PLAYBOOK_VERSION_UNKNOWN, text)
