"""Makes decisions on record again, and tells whether they come out as they did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.gateway.archive import on_record
from services.gateway.domain.knowledge import Unavailable
from services.gateway.domain.replay import (
    MOST_DIFFERENCES,
    SAME,
    Difference,
    Replay,
    Seal,
    rescored,
    revectored,
)
from services.gateway.ports import DecisionLog, NotRemade, Replica, Rescored, Rescorer, Shown
from services.gateway.remakes import Remakes
from services.gateway.resolver import Remaining

UNSEALED: Final = "the record has no digest, so nobody can tell whether it is as it was written"
_DEFAULT_SECONDS: Final = 10.0
_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """Compares decisions with their replays; it only reads.

    ``seal`` tells whether a record is as it was written, ``recall`` opens it.
    """

    remakes: Remakes
    seal: Callable[[bytes], Seal]
    recall: Callable[[bytes], Replica]

    async def replay(
        self, decision_id: str, record: bytes, rescorer: Rescorer | None, remaining: Remaining
    ) -> Replay:
        """Make a decision again; ``decision_id`` is what it is on record as.

        With a ``rescorer`` scores are made anew, too, and numbers may differ by as much as scores may. Of
        a record that was damaged nothing else is told: what it says is worth nothing.
        """
        if (seal := self.seal(record)) == "damaged":
            return Replay(is_damaged=True)
        unsealed = [UNSEALED] if seal == "absent" else []
        try:
            found = await self._replay(decision_id, record, rescorer, remaining)
        except NotRemade as error:
            found = Replay(missing=[str(error)])
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # What was never logged, but altered and sealed anew, can break what no decision breaks.
            found = Replay(missing=[f"the record cannot be made a decision of: {type(error).__name__}"])
        return replace(found, missing=[*unsealed, *found.missing])

    async def _replay(
        self, decision_id: str, record: bytes, rescorer: Rescorer | None, remaining: Remaining
    ) -> Replay:
        again, missing = None, ""
        if rescorer is not None and (shown := self.recall(record).shown) is not None:
            again, missing = await _rescored(shown, rescorer, remaining)
        async with self.remakes.turn:
            differences, score_difference = await self._compared(decision_id, self.recall(record), again)
        return Replay(
            differences=differences, missing=[missing] if missing else [], score_difference=score_difference
        )

    async def _compared(
        self, decision_id: str, replica: Replica, again: Rescored | None
    ) -> tuple[Sequence[Difference], float | None]:
        edition, recorded = await self.remakes.recorded(replica)
        score_difference = None
        if again is not None:
            recorded, score_difference = rescored(recorded, again.propensities)
        decision = await self.remakes.decision(edition, recorded)
        if again is not None:
            decision = revectored(edition, decision, again.model)
        tolerance = SAME if score_difference else 0.0
        differences = await self.remakes.politely(replica.differences(edition, decision, tolerance))
        if (made := decision.checked.request.decision_id) != decision_id:
            elsewhere = Difference(field="decision_id", recorded=decision_id, replayed=made)
            differences = [elsewhere, *differences][:MOST_DIFFERENCES]
        return differences, score_difference


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayHandler:
    """Answers ``ReplayDecision``."""

    log: DecisionLog
    replays: Replays
    rescorer: Rescorer

    async def replay(self, decision_id: str, rescore: bool, remaining: Remaining) -> Replay:
        """Replay a decision, live or dry.

        Raises:
            Fault: the id is no id or names no decision on record, or the log cannot be read.
        """
        logged = await on_record(self.log, decision_id)
        rescorer = self.rescorer if rescore else None
        return await self.replays.replay(decision_id, logged.record, rescorer, remaining)


async def _rescored(shown: Shown, rescorer: Rescorer, remaining: Remaining) -> tuple[Rescored | None, str]:
    """Return new scores, or why there are none."""
    left = remaining()
    try:
        return await rescorer.rescore(shown, _DEFAULT_SECONDS if left is None else left * _SHARE), ""
    except Unavailable as error:
        return None, error.detail
