"""Writes the earlier contacts of a case on the ledger of the gateway that decides it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from services.chassis.sqlite import Database
from services.cli.cases import schema, worlds
from services.cli.cases.moments import moment_of
from services.cli.cases.pipeline import Gateway
from services.cli.cases.situations import Case
from services.engine.playbook.playbook import Playbook
from services.engine.policy.contact import facts_of
from services.gateway import app
from services.gateway.adapters.sqlite_log import SqliteLog
from services.gateway.domain.ledger import Claim, Offer
from services.gateway.domain.outcomes import OutcomeReport
from services.gateway.ports import LogEntry

_MIGRATIONS: Final = [
    path.read_text() for path in sorted((Path(app.__file__).parent / "migrations").glob("*.sql"))
]
_LATER: Final = timedelta(days=1)


async def write(case: Case, gateway: Gateway) -> None:
    """Have every contact of the case's world reserved, and claimed where it was taken."""
    if not any(customer.contacts for customer in case.world.customers.values()):
        return
    async with Database.open(gateway.store, _MIGRATIONS) as database:
        log = SqliteLog(database)
        for name, customer in case.world.customers.items():
            key = worlds.customer_id(case, name, gateway.playbook)
            for index, contact in enumerate(customer.contacts):
                await _write(log, case, gateway.playbook, key, f"{key}/{index}", contact)


async def _write(
    log: SqliteLog, case: Case, playbook: Playbook, key: str, decision_id: str, contact: schema.Contact
) -> None:
    at = moment_of(contact.at, case.now)
    until = at + _LATER if contact.until is None else moment_of(contact.until, case.now)
    offer = _offer(playbook, contact, until)
    is_taken = contact.state == "taken"
    await log.append(
        LogEntry(
            decision_id=decision_id,
            live=True,
            customer_id=key,
            fingerprint="",
            record_time=at,
            offers=[offer],
            versions=(await log.ledger([key], at)).versions,
            record=b"",
            without_trace=b"",
        )
    )
    if is_taken:
        versions = (await log.ledger([key], at)).versions
        await log.claim(decision_id, 1, Claim(claim_id="", time=at), versions)
    await log.record_outcomes(list(_responses(contact, case, decision_id)), case.now)


def _offer(playbook: Playbook, contact: schema.Contact, until: datetime) -> Offer:
    action_id, _, treatment_id = contact.offered.partition("/")
    action = playbook.actions[action_id]
    treatment = action.treatments[treatment_id]
    return Offer(
        facts=facts_of(action_id, action, treatment_id, treatment),
        is_inbound=playbook.head.channels[treatment.channel].inbound,
        claim_by=until,
    )


def _responses(contact: schema.Contact, case: Case, decision_id: str) -> Iterator[OutcomeReport]:
    for kind, when in contact.responses.items():
        yield OutcomeReport(
            outcome_id=f"{decision_id}/{kind}",
            decision_id=decision_id,
            rank=1,
            kind=kind.upper(),
            outcome_time=moment_of(when, case.now),
        )
