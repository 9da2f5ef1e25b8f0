"""Stores for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence

from services.profile.domain import consents as consenting
from services.profile.domain import updates as updating
from services.profile.domain.attributes import Attribute
from services.profile.domain.consents import Consent, Recorded
from services.profile.domain.identities import Identity
from services.profile.domain.links import (
    Family,
    LinkAnswer,
    Linked,
    Linking,
    LinkRecord,
    is_same,
    ordered,
    preferred,
    stricter,
)
from services.profile.domain.updates import Taken, Update
from services.profile.ports import Profile


class InMemoryProfiles:
    """Implements ``ProfileStore``; raises ``failure`` instead while it is set."""

    def __init__(self) -> None:
        self.values: dict[str, dict[tuple[str, int], tuple[str, str]]] = {}
        self.identities: dict[Identity, str] = {}
        self.consents: dict[str, Consent] = {}
        self.pointers: dict[str, str] = {}
        self.acts: list[LinkRecord] = []
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
        owner = self.identities.get(identity)
        return None if owner is None else self._family(owner).customer_id

    async def read(self, customer_id: str, before: int | None) -> Profile | None:
        """Return what was recorded before a time."""
        self._fail()
        if customer_id not in self.values:
            return None
        family = self._family(customer_id)
        rows = [
            (record_time, name, value, source)
            for member in reversed(preferred(family))
            for (name, record_time), (value, source) in self.values[member].items()
            if before is None or record_time < before
        ]
        found = {
            name: Attribute(json.loads(value), record_time, source)
            for record_time, name, value, source in sorted(rows, key=lambda row: row[0])
        }
        return Profile(
            customer_id=family.customer_id,
            members=family.members,
            version=family.version,
            attributes={name: found[name] for name in found if found[name].value is not None},
            consents=consenting.newest(
                consent
                for consent in self._said(family.members)
                if before is None or consent.record_time < before
            ),
        )

    async def link(self, linking: Linking) -> Linked:
        """Put a link or an unlink on file."""
        self._fail()
        for act in self.acts:
            if act.linking.link_id == linking.link_id:
                if not is_same(linking, act.linking):
                    return Linked(answer=LinkAnswer.REUSED)
                return self._told(act, LinkAnswer.DUPLICATE)
        named = {linking.member_id} if linking.is_unlink else {linking.member_id, linking.customer_id}
        if not named <= self.values.keys():
            return Linked(answer=LinkAnswer.CUSTOMER_UNKNOWN)
        theirs = self._family(linking.member_id)
        if linking.is_unlink:
            if theirs.customer_id == linking.member_id:
                return Linked(answer=LinkAnswer.NOT_LINKED)
            del self.pointers[linking.member_id]
            act = LinkRecord(linking=linking, customer_id=theirs.customer_id, member_id=linking.member_id)
        else:
            ours = self._family(linking.customer_id)
            if ours == theirs:
                return Linked(answer=LinkAnswer.DUPLICATE, family=ours)
            roots = (ours.customer_id, theirs.customer_id)
            strict = stricter(linking, self._said(ours.members), self._said(theirs.members), roots)
            self.consents.update((consent.statement.receipt_id, consent) for consent in strict)
            self.pointers[theirs.customer_id] = ours.customer_id
            act = LinkRecord(linking=linking, customer_id=roots[0], member_id=roots[1])
        self.acts.append(act)
        return self._told(act, LinkAnswer.NEW)

    async def links(self, customer_id: str) -> list[LinkRecord]:
        """Return every act that a customer had a part in."""
        self._fail()
        known = set(self._family(customer_id).members) if customer_id in self.values else set()
        for _ in self.acts:
            for act in self.acts:
                if {act.customer_id, act.member_id} & known:
                    known |= {act.customer_id, act.member_id}
        return [act for act in self.acts if act.member_id in known]

    async def consents_of(self, customer_id: str) -> list[Consent]:
        """Return every consent of a customer."""
        self._fail()
        return self._said(self._family(customer_id).members) if customer_id in self.values else []

    def _family(self, customer_id: str) -> Family:
        root = customer_id
        while root in self.pointers:
            root = self.pointers[root]
        members = {root}
        for _ in self.pointers:
            members |= {member for member, parent in self.pointers.items() if parent in members}
        numbered = enumerate(self.acts, start=1)
        versions = [number for number, act in numbered if {act.customer_id, act.member_id} & members]
        return Family(customer_id=root, members=ordered(members), version=max(versions, default=0))

    def _told(self, act: LinkRecord, answer: LinkAnswer) -> Linked:
        left = self._family(act.member_id) if act.linking.is_unlink else None
        return Linked(answer=answer, family=self._family(act.customer_id), left=left)

    def _said(self, members: Sequence[str]) -> list[Consent]:
        return [one for one in self.consents.values() if one.statement.customer_id in members]

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
