"""What is known of a customer's contacts and of what they made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.engine.playbook.facts import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One contact: reserved, taken, or both.

    ``reserve_time`` is None where a delivery was reported that had reserved nothing. ``expire_time``,
    exclusive, ends the reservation. ``consume_time`` is when the slot was taken, None while it is only
    reserved; ``release_time`` when it was given back.
    """

    facts: Facts
    reserve_time: datetime | None = None
    expire_time: datetime | None = None
    consume_time: datetime | None = None
    release_time: datetime | None = None

    def is_reserved(self, at: datetime) -> bool:
        """Tell whether it is reserved and not yet taken, given back or expired."""
        if self.consume_time is not None or self.release_time is not None or self.expire_time is None:
            return False
        return at < self.expire_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a customer made of a contact; ``kind`` such as ``rejected``."""

    facts: Facts
    kind: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What is known of a customer's contacts and responses, over all members of a merge."""

    contacts: Sequence[Contact] = ()
    responses: Sequence[Response] = ()

    def as_of(self, at: datetime) -> Ledger:
        """Return what was known before a moment: what came at it or later is undone or left out."""
        contacts = [_as_of(contact, at) for contact in self.contacts if _is_known(contact, at)]
        return Ledger(
            contacts=contacts, responses=[response for response in self.responses if response.time < at]
        )


def _is_known(contact: Contact, at: datetime) -> bool:
    times = (contact.reserve_time, contact.consume_time)
    return any(time is not None and time < at for time in times)


def _as_of(contact: Contact, at: datetime) -> Contact:
    taken, released = contact.consume_time, contact.release_time
    return replace(
        contact,
        consume_time=taken if taken is not None and taken < at else None,
        release_time=released if released is not None and released < at else None,
    )
