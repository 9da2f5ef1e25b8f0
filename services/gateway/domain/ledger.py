"""Contacts on the ledger: what decisions reserve, claims take and outcomes tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from services.engine.policy.contact import Contact, Facts, Ledger

_TELLS_OF_CONTACT: Final = {False: frozenset({"DELIVERED", "VIEWED"}), True: frozenset({"VIEWED"})}
"""The outcomes that tell of a contact, by whether the channel is inbound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One ranked action of a live answer; ``claim_by`` ends its reservation, None where it has none.

    What is told of it happened at or after ``decided``, whatever clocks say.
    """

    facts: Facts
    is_inbound: bool = False
    claim_by: datetime | None = None
    decided: datetime | None = None

    def after(self, time: datetime) -> datetime:
        """Return when something happened that is dated ``time``: not before its decision."""
        return time if self.decided is None else max(time, self.decided)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The verdict on a claim: to go, or, with the ``code`` and ``text`` of a reason, cancelled."""

    claim_id: str
    time: datetime
    code: str = ""
    text: str = ""

    @property
    def goes(self) -> bool:
        """Tell whether to send."""
        return not self.code


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the ledger holds of one ranked action; ``contact`` is None where it holds nothing yet."""

    customer_id: str
    offer: Offer
    contact: Contact | None = None
    claim: Claim | None = None

    def claimed(self, claim: Claim) -> Standing:
        """Take the slot, or give it back, as the first claim says."""
        contact = self.contact or Contact(facts=self.offer.facts)
        if claim.goes:
            contact = replace(contact, consume_time=claim.time)
        else:
            contact = replace(contact, release_time=claim.time)
        return replace(self, contact=contact, claim=claim)

    def told(self, kind: str, time: datetime) -> Standing:
        """Take the slot where an outcome tells of the contact and nothing took it before.

        What was given back counts again: the customer was contacted all the same.
        """
        if kind not in _TELLS_OF_CONTACT[self.offer.is_inbound]:
            return self
        contact = self.contact or Contact(facts=self.offer.facts)
        if contact.consume_time is not None:
            return self
        return replace(self, contact=replace(contact, consume_time=self.offer.after(time), release_time=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A ledger as it was read, None where nothing asks for it; ``versions`` by member, 0 for a new one."""

    ledger: Ledger | None = None
    versions: Mapping[str, int] = field(default_factory=dict)
