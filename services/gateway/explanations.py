"""Answers why: remakes a decision from its log record, without a hurry and without a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tact.errors.v1 import errors_pb2

from services.chassis.faults import Fault, FaultKind
from services.gateway.archive import on_record, unreadable
from services.gateway.contributions import Contributions
from services.gateway.ports import DecisionLog, NotLogged, NotRemade, Story
from services.gateway.remakes import Remakes
from services.gateway.resolver import Remaining


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainHandler:
    """Answers ``ExplainDecision``; it only reads, and prepares one story at a time.

    ``recall`` opens a log record.
    """

    log: DecisionLog
    contributions: Contributions
    remakes: Remakes
    recall: Callable[[bytes], Story]

    async def explain(self, decision_id: str, with_contributions: bool, remaining: Remaining) -> object:
        """Tell the story of a decision, live or dry.

        Raises:
            Fault: the id is no id or names no decision on record, its playbook is not at hand, or the
                log cannot be read.
        """
        logged = await on_record(self.log, decision_id)
        try:
            outcomes = list(await self.log.outcomes_of(decision_id))
        except NotLogged as error:
            raise unreadable(error) from None
        async with self.remakes.turn:
            story = self.recall(logged.record)
            if not story.is_explained:
                await self._remake(story)
        missing = await self.contributions.tell(story, remaining) if with_contributions else ""
        return story.told(outcomes, missing)

    async def _remake(self, story: Story) -> None:
        try:
            edition, recorded = await self.remakes.recorded(story)
            decision = await self.remakes.decision(edition, recorded)
            if not story.is_told_by(decision):
                raise NotRemade("this version of Tact makes another decision of the record than it was")
        except NotRemade as error:
            reason = errors_pb2.ERROR_REASON_PLAYBOOK_VERSION_UNKNOWN
            raise Fault(FaultKind.PRECONDITION, reason, str(error)) from None
        await self.remakes.politely(story.explain(decision, edition.playbook))
