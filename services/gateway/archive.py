"""Finds decisions on record."""

from __future__ import annotations

from tact.errors.v1 import errors_pb2

from services.chassis.faults import Fault, FaultKind, Violation, invalid
from services.engine.violations import LONGEST_ID, check_text
from services.engine.violations import Violation as Found
from services.gateway.ports import DecisionErased, DecisionLog, Logged, NotLogged


async def on_record(log: DecisionLog, decision_id: str) -> Logged:
    """Return a decision, live or dry.

    Raises:
        Fault: the id is no id or names no decision on record, as an erased one does not either, or the
            log cannot be read.
    """
    violations: list[Found] = []
    check_text("decision_id", decision_id, violations, least=1, most=LONGEST_ID)
    if violations:
        raise invalid(*(Violation(*violation) for violation in violations))
    try:
        logged = await log.find(decision_id, live=True) or await log.find(decision_id, live=False)
    except NotLogged as error:
        raise unreadable(error) from None
    except DecisionErased:
        raise erased() from None
    if logged is None:
        reason = errors_pb2.ERROR_REASON_DECISION_UNKNOWN
        raise Fault(FaultKind.NOT_FOUND, reason, "no decision with this id is on record")
    return logged


def erased() -> Fault:
    """Return the fault of a call that names an erased decision."""
    reason = errors_pb2.ERROR_REASON_DECISION_ERASED
    return Fault(FaultKind.NOT_FOUND, reason, "the decision was erased with its customer")


def unreadable(error: NotLogged) -> Fault:
    """Return the fault of a log that cannot be read."""
    return Fault(FaultKind.UNAVAILABLE, errors_pb2.ERROR_REASON_STORE_UNAVAILABLE, str(error))
