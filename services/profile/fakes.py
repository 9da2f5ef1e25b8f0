"""Stores for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence

from services.profile.domain import consents as consenting
from services.profile.domain import updates as updating
from services.profile.domain.attributes import Attribute
from services.profile.domain.consents import Consent, Recorded
from services.profile.domain.identities import Identity
from services.profile.domain.updates import Taken, Update
from services.profile.ports import Profile


class InMemoryProfiles:
    """Implements ``ProfileStore``; raises ``failure`` instead while it is set."""

    def __init__(self) -> None:
        self.values: dict[str, dict[tuple[str, int], tuple[str, str]]] = {}
        self.identities: dict[Identity, str] = {}
        self.consents: dict[str, Consent] = {}
        self.failure: Exception | None = None

    async def upsert(self, updates: Sequence[Update]) -> list[Taken | None]:
        """Apply updates in order."""
        self._fail()
        answers, claimed = updating.settle(updates, self.identities)
        self.identities.update(claimed)
        for update, answer in zip(updates, answers, strict=True):
            if answer is None:
                history = self.values.setdefault(update.customer_id, {})
                for name, value in update.attributes.items():
                    history[name, update.record_time] = value, update.source
        return answers

    async def record(self, consents: Sequence[Consent]) -> list[Recorded]:
        """Append consents in order."""
        self._fail()
        known = {receipt_id: consent.statement for receipt_id, consent in self.consents.items()}
        answers, fresh = consenting.settle(consents, known, frozenset(self.values))
        self.consents.update((consent.statement.receipt_id, consent) for consent in fresh)
        return answers

    async def resolve(self, identity: Identity) -> str | None:
        """Return the customer of an identity, or None."""
        self._fail()
        return self.identities.get(identity)

    async def read(self, customer_id: str, before: int | None) -> Profile | None:
        """Return what was recorded before a time."""
        self._fail()
        if (history := self.values.get(customer_id)) is None:
            return None
        found = {
            name: Attribute(json.loads(value), record_time, source)
            for (name, record_time), (value, source) in sorted(history.items())
            if before is None or record_time < before
        }
        return Profile(
            customer_id=customer_id,
            attributes={name: found[name] for name in found if found[name].value is not None},
            consents=consenting.newest(
                consent
                for consent in self.consents.values()
                if consent.statement.customer_id == customer_id
                and (before is None or consent.record_time < before)
            ),
        )

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
