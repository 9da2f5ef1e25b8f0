"""The contact policy: how often a customer may be contacted, and what earlier contacts cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What scopes ask of a treatment, as it was when it was offered."""

    action_id: str
    treatment_id: str
    group: str
    channel: str
    purpose: str
    action_class: str


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
