"""Consents, before and after they are checked, and which of them counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.engine import moments
from services.engine.playbook.playbook import Playbook
from services.engine.violations import (
    LONGEST_ID,
    Invalid,
    Violation,
    check_text,
    unknown,
)


class State(StrEnum):
    """What the customer said."""

    GRANTED = "granted"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingConsent:
    """A consent as a caller sent it: nothing is checked, ``state`` None is no known one."""

    receipt_id: str
    customer_id: str
    purpose: str
    channel: str
    state: State | None
    record_time: moments.Moment | None
    expire_time: moments.Moment | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a receipt says; two receipts of the same statement are the same."""

    receipt_id: str
    customer_id: str
    purpose: str
    channel: str
    state: State
    stated_time: int | None
    expire_time: int | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A statement on file; ``record_time`` orders it among the others of its purpose and channel."""

    statement: Statement
    record_time: int

    @property
    def binds_at_once(self) -> bool:
        """Tell whether it is a refusal that counts from its arrival, not from when it was stated."""
        statement = self.statement
        return statement.state is not State.GRANTED and statement.stated_time != self.record_time


class Recorded(StrEnum):
    """What became of a consent."""

    NEW = "recorded"
    DUPLICATE = "duplicate"
    REUSED = "reused"
    CUSTOMER_UNKNOWN = "customer_unknown"


def check(incoming: IncomingConsent, playbook: Playbook, now: int) -> Consent | Invalid:
    """Check a consent against the contract and the playbook, and list all that is wrong with it.

    A record time ahead of ``now`` is taken for a clock that is ahead, and so counts as now:
    otherwise a grant from such a clock would outlive a withdrawal that follows it. A refusal
    stated less than five minutes ago is taken for one of this moment from a clock that is behind,
    and counts as now too: it binds whatever was granted before it arrived.
    """
    violations: list[Violation] = []
    check_text("customer_id", incoming.customer_id, violations, least=1, most=LONGEST_ID)
    check_text("consent.receipt_id", incoming.receipt_id, violations, least=1, most=LONGEST_ID)
    check_text("consent.source", incoming.source, violations, least=0, most=LONGEST_ID)
    _check_subject(incoming, playbook, violations)
    if incoming.state is None:
        violations.append(Violation("consent.state", "must be GRANTED, DENIED or WITHDRAWN"))
    stated_time = expire_time = None
    try:
        stated_time = None if incoming.record_time is None else moments.past(incoming.record_time, now)
    except ValueError as error:
        violations.append(Violation("consent.record_time", str(error)))
    try:
        expire_time = None if incoming.expire_time is None else moments.exact(incoming.expire_time)
    except ValueError as error:
        violations.append(Violation("consent.expire_time", str(error)))
    if violations or incoming.state is None:
        return Invalid(tuple(violations))
    statement = Statement(
        receipt_id=incoming.receipt_id,
        customer_id=incoming.customer_id,
        purpose=incoming.purpose,
        channel=incoming.channel,
        state=incoming.state,
        stated_time=stated_time,
        expire_time=expire_time,
        source=incoming.source,
    )
    return Consent(statement=statement, record_time=_counted(statement, now))


def _check_subject(incoming: IncomingConsent, playbook: Playbook, violations: list[Violation]) -> None:
    """Check what the consent is for: contact happens on a channel, the use of data on none."""
    purposes, channels = playbook.head.purposes, playbook.head.channels
    use = purposes[incoming.purpose].use if incoming.purpose in purposes else None
    if use is None:
        violations.append(Violation("consent.purpose", unknown(incoming.purpose, purposes)))
    if use == "data" and incoming.channel:
        violations.append(Violation("consent.channel", "must be empty for a purpose of use data"))
    elif use == "contact" and not incoming.channel:
        violations.append(Violation("consent.channel", "must name a channel for a purpose of use contact"))
    elif incoming.channel and incoming.channel not in channels:
        violations.append(Violation("consent.channel", unknown(incoming.channel, channels)))


def _counted(statement: Statement, now: int) -> int:
    stated = statement.stated_time
    if stated is None or stated > now:
        return now
    is_refusal = statement.state is not State.GRANTED
    return now if is_refusal and now - stated < moments.MOST_AHEAD else stated


def settle(
    consents: Iterable[Consent], known: Mapping[str, Statement], customers: frozenset[str]
) -> tuple[list[Recorded], list[Consent]]:
    """Decide on each consent, in order, and return those to append.

    ``known`` holds the statements on file of the same receipts, ``customers`` the customers on
    file among those named.
    """
    seen = dict(known)
    answers: list[Recorded] = []
    fresh: list[Consent] = []
    for consent in consents:
        statement = consent.statement
        if statement.customer_id not in customers:
            answers.append(Recorded.CUSTOMER_UNKNOWN)
        elif (standing := seen.get(statement.receipt_id)) is None:
            seen[statement.receipt_id] = statement
            fresh.append(consent)
            answers.append(Recorded.NEW)
        else:
            answers.append(Recorded.DUPLICATE if standing == statement else Recorded.REUSED)
    return answers, fresh


def newest(consents: Iterable[Consent]) -> list[Consent]:
    """Return the consent of each purpose and channel that counts, of consents in the order of arrival.

    It is the one recorded last; of equal times, the one that arrived last. A refusal that counts from
    its arrival takes the place of all that arrived before, also where the service's clock has gone back
    since.
    """
    found: dict[tuple[str, str], tuple[int, Consent]] = {}
    for consent in consents:
        key = consent.statement.purpose, consent.statement.channel
        time, _ = found.get(key, (consent.record_time, consent))
        if consent.record_time >= time or consent.binds_at_once:
            found[key] = max(time, consent.record_time), consent
    return [consent for _, consent in found.values()]
