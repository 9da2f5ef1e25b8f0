"""Takes what is on record of customers out, and away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tact.errors.v1 import errors_pb2

from services.chassis.faults import Fault, FaultKind, Violation, invalid
from services.chassis.tables import InvalidRow, Page
from services.engine.violations import LONGEST_ID, check_text
from services.engine.violations import Violation as Found
from services.gateway.archive import unreadable
from services.gateway.ports import DecisionLog, LogFull, NotLogged

MOST_IDS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerHandler:
    """Answers ``ExportCustomer`` and ``EraseCustomer``.

    ``now`` is UTC; ``forget`` drops what this process remembers of customers beside the log.
    """

    log: DecisionLog
    now: Callable[[], datetime]
    forget: Callable[[Collection[str]], None]

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return the rows of customers, page by page.

        Raises:
            Fault: an id or the token is none, or the log cannot be read.
        """
        _check(customer_ids)
        try:
            return await self.log.export(customer_ids, page_token)
        except InvalidRow as error:
            raise invalid(Violation("page_token", str(error))) from None
        except NotLogged as error:
            raise unreadable(error) from None

    async def erase(self, customer_ids: Sequence[str]) -> Mapping[str, int]:
        """Erase customers; return how many rows there were, by table.

        Raises:
            Fault: an id is none, or the log cannot be written.
        """
        _check(customer_ids)
        try:
            erased = await self.log.erase(customer_ids, self.now)
        except LogFull:
            reason = errors_pb2.ERROR_REASON_OVERLOADED
            raise Fault(FaultKind.OVERLOADED, reason, "the decision log's queue is full") from None
        except NotLogged as error:
            reason = errors_pb2.ERROR_REASON_STORE_UNAVAILABLE
            raise Fault(FaultKind.UNAVAILABLE, reason, str(error)) from None
        self.forget(customer_ids)
        return erased


def _check(customer_ids: Sequence[str]) -> None:
    violations: list[Found] = []
    if not 1 <= len(customer_ids) <= MOST_IDS:
        violations.append(Found("customer_ids", f"must be 1 to {MOST_IDS:,}"))
    for number, customer_id in enumerate(customer_ids[:MOST_IDS]):
        check_text(f"customer_ids[{number}]", customer_id, violations, least=1, most=LONGEST_ID)
    if violations:
        raise invalid(*(Violation(*violation) for violation in violations))
