"""Logs each decision before it is answered, and answers a repeat from what was logged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from tact.errors.v1 import errors_pb2

from services.chassis.faults import Fault, FaultKind
from services.gateway.domain import answer
from services.gateway.domain.decision import Decision
from services.gateway.domain.knowledge import Profile
from services.gateway.domain.ledger import Reading
from services.gateway.domain.request import REPEAT_WINDOW, Checked, DecisionRequest
from services.gateway.domain.timing import duration
from services.gateway.ports import DecisionErased, DecisionLog, Encoder, LogEntry, LogFull, Logged, NotLogged

_ERASED: Final = "request_id was answered, and the answer was erased with its customer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Keeps the promise that no action leaves unlogged.

    ``now`` is UTC, ``monotonic`` in nanoseconds; ``observe`` sees every new decision and how long
    it took to log.
    """

    log: DecisionLog
    now: Callable[[], datetime]
    monotonic: Callable[[], int]
    observe: Callable[[Decision, timedelta], None]

    async def repeated(self, request: DecisionRequest, fingerprint: str, encoder: Encoder) -> object | None:
        """Return the stored answer of a repeated request, None for a new one.

        ``fingerprint`` identifies the payload. Where the log cannot be read, appending will tell.

        Raises:
            Fault: the id was used for another request, more than 24 hours ago, or for a decision that
                was erased.
        """
        if not request.is_repeatable:
            return None
        try:
            standing = await self.log.find(request.decision_id, request.live)
        except NotLogged:
            return None
        except DecisionErased:
            raise _expired(_ERASED) from None
        return None if standing is None else self._stored(standing, fingerprint, encoder)

    async def ledger(self, profile: Profile, since: datetime) -> Reading:
        """Read the ledger of a customer, as far back as ``since``.

        While profiles are out of reach, over all who were one customer when it was decided about last.

        Raises:
            NotLogged: it cannot be read.
        """
        members = profile.members if profile.is_read else await self.log.family(profile.customer_id)
        return await self.log.ledger(members, since)

    async def reading(self, profile: Profile, since: datetime, checked: Checked) -> Reading:
        """Read the ledger of a customer; a dry run sees it as it was at the time of its decision.

        Raises:
            NotLogged: it cannot be read.
        """
        reading = await self.ledger(profile, since)
        if checked.request.live or reading.ledger is None:
            return reading
        return replace(reading, ledger=reading.ledger.as_of(checked.decision_time))

    async def seal(
        self,
        decision: Decision,
        fingerprint: str,
        encoder: Encoder,
        versions: Mapping[str, int],
        valid_until: float = math.inf,
    ) -> object:
        """Log a decision and return its answer; what it reserves is taken in the same step.

        Where it cannot be logged, the answer is empty and says so. Where the same request was
        answered meanwhile, that answer stands. ``versions`` are those of the ledger that it was decided
        by; who is one customer may be acted on until ``valid_until``, by ``time.monotonic``.

        Raises:
            Fault: the log's queue is full, or the id was used meanwhile for another request or for one
                that was erased.
            LedgerMoved: it reserves, and the ledger has changed since.
            LeaseOver: it took longer than who is one customer may be acted on.
        """
        started = self.monotonic()
        request, record_time = decision.checked.request, self.now()
        profile = Profile() if decision.situation is None else decision.situation.profile
        encoded = encoder.encode(decision, record_time)
        try:
            standing = await self.log.append(
                LogEntry(
                    decision_id=request.decision_id,
                    live=request.live,
                    customer_id=decision.customer_id,
                    fingerprint=fingerprint,
                    record_time=record_time,
                    offers=[chosen.offer for chosen in decision.actions] if request.live else (),
                    versions=versions,
                    valid_until=valid_until,
                    members=profile.members,
                    identity_version=profile.identity_version,
                    record=encoded.record,
                    without_trace=encoded.without_trace,
                )
            )
        except LogFull:
            reason = errors_pb2.ERROR_REASON_OVERLOADED
            raise Fault(FaultKind.OVERLOADED, reason, "the decision log's queue is full") from None
        except DecisionErased:
            raise _expired(_ERASED) from None
        except NotLogged as error:
            decision = answer.silenced(decision, str(error))
            encoded, standing = encoder.encode(decision, record_time), None
        if standing is not None:
            return self._stored(standing, fingerprint, encoder)
        self.observe(decision, duration(self.monotonic() - started))
        return encoded.response

    def _stored(self, standing: Logged, fingerprint: str, encoder: Encoder) -> object:
        if standing.fingerprint != fingerprint:
            reason = errors_pb2.ERROR_REASON_IDENTIFIER_REUSED
            raise Fault(FaultKind.ALREADY_EXISTS, reason, "request_id was used for another request")
        age = self.now() - standing.record_time
        if age > REPEAT_WINDOW:
            hours = int(age.total_seconds() // 3600)
            raise _expired(f"request_id was answered {hours} hours ago; a repeat is answered for 24 hours")
        return encoder.response(standing.record)


def _expired(text: str) -> Fault:
    return Fault(FaultKind.PRECONDITION, errors_pb2.ERROR_REASON_REQUEST_ID_EXPIRED, text)
