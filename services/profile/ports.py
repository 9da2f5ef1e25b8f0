"""What the handlers need of a store of profiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.chassis.tables import Page
from services.profile.domain.attributes import Attribute
from services.profile.domain.consents import Consent, Recorded
from services.profile.domain.identities import CustomerKey, Identity
from services.profile.domain.links import Linked, Linking, LinkRecord
from services.profile.domain.updates import Taken, Update


class StoreUnavailable(Exception):
    """The store cannot be read or written; nothing was acknowledged. The message says why."""


class StoreOverloaded(Exception):
    """Too many writes are waiting; nothing was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is on file for a customer: attributes that have a value, and the consents that count.

    ``members`` are all ids that are this customer, ``version`` the newest act about who is.
    """

    customer_id: str
    members: tuple[str, ...]
    version: int
    attributes: Mapping[str, Attribute]
    consents: Sequence[Consent]


class ProfileStore(Protocol):
    """Keeps profiles with their history.

    Every method raises ``StoreUnavailable``; the writing ones raise ``StoreOverloaded`` where the
    caller should try again later. What they return is durable, and visible to every later read. Of calls
    at the same moment, by several processes too, each sees all that another did or nothing of it.
    """

    async def upsert(self, updates: Sequence[Update]) -> list[Taken | None]:
        """Apply updates in order; answer None for each that was applied.

        Of two values with the same customer, name and record time, the later one stays.
        """
        ...

    async def record(self, consents: Sequence[Consent]) -> list[Recorded]:
        """Append consents in order, and answer each."""
        ...

    async def resolve(self, identities: Sequence[Identity]) -> list[str | None]:
        """Return the customer of each identity, of whom it is a member now, or None."""
        ...

    async def read(self, keys: Sequence[CustomerKey], before: int | None) -> list[Profile | None]:
        """Return what was recorded of each ``before`` a time, or None where the customer is unknown.

        It is that of all who are one with the customer now: of each attribute the newest value, of equal
        times that of the customer linked to, then of the first member. Each profile is of one moment.
        """
        ...

    async def link(self, linking: Linking) -> Linked:
        """Put a link or an unlink on file, in one step with the consents that it makes stricter."""
        ...

    async def links(self, customer_id: str) -> list[LinkRecord]:
        """Return every act that a customer, or who was ever linked to it, had a part in, in order."""
        ...

    async def consents_of(self, customer_id: str) -> list[Consent]:
        """Return every consent of a customer, over all members, in the order of arrival."""
        ...

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return the rows of these ids, page by page.

        Raises:
            InvalidRow: the token is none of an export.
        """
        ...

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], int]) -> Mapping[str, int] | None:
        """Remove all rows of these ids in one step, and remember a hash of each with the time.

        ``now`` is asked for it once nothing holds the erasure up any more.
        Returns how many there were by table. Where an id is one with another that is not named, nothing is
        removed, and None returned.
        """
        ...
