"""A ledger as it would have been: who was contacted when, had a playbook decided all along."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.engine.policy.contact import Contact, Ledger, Response
from services.gateway.domain.decision import Chosen, Decision

DELIVERY_KINDS: Final = frozenset({"delivered", "viewed"})
"""The answers that the simulation makes up itself; those reported are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What a customer made of an action, as the log has it; ``kind`` such as ``rejected``."""

    customer_id: str
    action_id: str
    kind: str
    time: datetime


class Contacts:
    """Simulates the ledgers of all customers under one playbook.

    What is answered is taken to be delivered at its earliest time, and on an inbound channel to be viewed
    at once. Until then it is reserved. What was reported of an action counts where this playbook, too,
    had offered that action before. Dry runs contact nobody of ``live``, the customers with live decisions.
    """

    def __init__(self, reported: Iterable[Reported], live: Collection[str]) -> None:
        self._live = live
        self._contacts: defaultdict[str, list[Contact]] = defaultdict(list)
        self._responses: defaultdict[str, list[Response]] = defaultdict(list)
        self._reported: defaultdict[str, deque[Reported]] = defaultdict(deque)
        for one in sorted(reported, key=lambda one: one.time):
            if one.kind not in DELIVERY_KINDS:
                self._reported[one.customer_id].append(one)

    def known(self, customer_id: str, at: datetime, recorded: Ledger | None) -> Ledger:
        """Return what is known at a decision; the times of a customer's decisions must not fall.

        A customer's first decision begins with the ledger that it was ``recorded`` with.
        """
        if customer_id not in self._contacts:
            seed = recorded or Ledger()
            self._contacts[customer_id] = list(seed.contacts)
            self._responses[customer_id] = list(seed.responses)
            self._forget(customer_id, at)
        reported = self._reported[customer_id]
        while reported and reported[0].time <= at:
            self._answer(reported.popleft())
        return Ledger(contacts=self._contacts[customer_id], responses=self._responses[customer_id]).as_of(at)

    def note(self, decision: Decision, *, live: bool) -> None:
        """Contact the customer with what was answered."""
        if not live and decision.customer_id in self._live:
            return
        for chosen in decision.actions:
            self._contact(decision.customer_id, chosen, decision.checked.decision_time)

    def _contact(self, customer_id: str, chosen: Chosen, now: datetime) -> None:
        is_inbound = chosen.offer.is_inbound
        facts, taken = chosen.offer.facts, now if is_inbound else chosen.place.not_before
        contact = Contact(facts=facts, reserve_time=now, expire_time=taken, consume_time=taken)
        kind = "viewed" if is_inbound else "delivered"
        self._contacts[customer_id].append(contact)
        self._responses[customer_id].append(Response(facts=facts, kind=kind, time=taken))

    def _answer(self, reported: Reported) -> None:
        contacts = self._contacts[reported.customer_id]
        alike = (contact for contact in contacts if contact.facts.action_id == reported.action_id)
        before = [contact for contact in alike if _began(contact) <= reported.time]
        if before:
            response = Response(facts=before[-1].facts, kind=reported.kind, time=reported.time)
            self._responses[reported.customer_id].append(response)

    def _forget(self, customer_id: str, before: datetime) -> None:
        """Leave out what was reported before the first decision: the recorded ledger tells of it."""
        reported = self._reported[customer_id]
        while reported and reported[0].time <= before:
            reported.popleft()


def _began(contact: Contact) -> datetime:
    began = contact.reserve_time or contact.consume_time
    if began is None:
        raise ValueError("a contact was reserved or taken")
    return began
