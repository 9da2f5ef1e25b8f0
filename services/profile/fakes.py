"""Stores for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from services.chassis.tables import Key, Page, Row, Table, exported, tombstone
from services.profile.adapters.rows import consent_row, link_row
from services.profile.adapters.tables import TABLES
from services.profile.domain import consents as consenting
from services.profile.domain import links as linking_of
from services.profile.domain import updates as updating
from services.profile.domain.attributes import Attribute
from services.profile.domain.consents import Consent, Recorded
from services.profile.domain.identities import CustomerKey, Identity
from services.profile.domain.links import (
    Family,
    LinkAnswer,
    Linked,
    Linking,
    LinkRecord,
    ordered,
    preferred,
    still_strict,
    stricter,
)
from services.profile.domain.updates import Taken, Update
from services.profile.ports import Profile


class InMemoryProfiles:
    """Implements ``ProfileStore``; raises ``failure`` instead while it is set.

    Consents and acts are held by their number.
    """

    def __init__(self) -> None:
        self.values: dict[str, dict[tuple[str, int], tuple[str, str]]] = {}
        self.identities: dict[Identity, str] = {}
        self.consents: dict[int, Consent] = {}
        self.memberships: dict[str, tuple[str | None, int]] = {}
        self.acts: dict[int, LinkRecord] = {}
        self.erasures: dict[str, int] = {}
        self.failure: Exception | None = None
        self._consent_numbers = count(1)
        self._newest_act = 0

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
        known = {consent.statement.receipt_id: consent.statement for consent in self.consents.values()}
        answers, fresh = consenting.settle(consents, known, frozenset(self.values))
        self._append(fresh)
        return answers

    async def resolve(self, identities: Sequence[Identity]) -> list[str | None]:
        """Return the customer of each identity, or None."""
        self._fail()
        owners = map(self.identities.get, identities)
        return [None if owner is None else self._family(owner).customer_id for owner in owners]

    async def read(self, keys: Sequence[CustomerKey], before: int | None) -> list[Profile | None]:
        """Return what was recorded of each before a time."""
        self._fail()
        return [self._profile(key, before) for key in keys]

    async def link(self, linking: Linking) -> Linked:
        """Put a link or an unlink on file."""
        self._fail()
        standing = [act for act in self.acts.values() if act.linking.link_id == linking.link_id]
        ours, theirs = map(self._known, (linking.customer_id, linking.member_id))
        answer, act = linking_of.settle(linking, standing[0] if standing else None, ours, theirs)
        if act is None:
            return Linked(answer=answer)
        if answer is LinkAnswer.NEW:
            if ours and theirs and not linking.is_unlink:
                roots = (act.customer_id, act.member_id)
                strict = stricter(linking, self._said(ours.members), self._said(theirs.members), roots)
                self._append(strict)
            self._newest_act += 1
            self.memberships[act.member_id] = act.linked_to, self._newest_act
            self.acts[self._newest_act] = act
        now = self._family(act.customer_id)
        left = self._family(act.member_id) if act.linking.is_unlink else None
        if answer is LinkAnswer.NEW and theirs and left:
            self._append(still_strict(linking, self._said(theirs.members), (now, left)))
        return Linked(answer=answer, family=now, left=left)

    async def links(self, customer_id: str) -> list[LinkRecord]:
        """Return every act that a customer had a part in."""
        self._fail()
        family = self._known(customer_id)
        known = set() if family is None else set(family.members)
        for _ in self.acts:
            for act in self.acts.values():
                if {act.customer_id, act.member_id} & known:
                    known |= {act.customer_id, act.member_id}
        return [act for act in self.acts.values() if act.member_id in known]

    async def consents_of(self, customer_id: str) -> list[Consent]:
        """Return every consent of a customer."""
        self._fail()
        family = self._known(customer_id)
        return [] if family is None else self._said(family.members)

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return a page of the rows of these ids."""
        self._fail()

        async def fetch(table: Table, after: Key | None, limit: int) -> list[Row]:
            rows = sorted(self._owned(table, customer_ids), key=table.key_of)
            return [row for row in rows if after is None or table.key_of(row) > after][:limit]

        return await exported(fetch, TABLES, page_token)

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], int]) -> Mapping[str, int] | None:
        """Remove all rows of these ids."""
        self._fail()
        named, erase_time = set(customer_ids), now()
        if any((member in named) != (root in named) for member, root in self.pointers.items()):
            return None
        gone = {table.name: list(self._owned(table, customer_ids)) for table in TABLES}
        for customer_id in named:
            self.values.pop(customer_id, None)
            self.memberships.pop(customer_id, None)
            digest = tombstone(customer_id)
            self.erasures[digest] = max(erase_time, self.erasures.get(digest, erase_time))
        self.identities = {one: owner for one, owner in self.identities.items() if owner not in named}
        for number, *_ in gone["consents"]:
            del self.consents[number]
        for number, *_ in gone["links"]:
            del self.acts[number]
        return {name: len(rows) for name, rows in gone.items()}

    @property
    def pointers(self) -> dict[str, str]:
        """Return who is a member of whom at present."""
        return {member: root for member, (root, _) in self.memberships.items() if root is not None}

    def _profile(self, key: CustomerKey, before: int | None) -> Profile | None:
        customer_id = self.identities.get(key) if isinstance(key, Identity) else key
        family = None if customer_id is None else self._known(customer_id)
        if family is None:
            return None
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

    def _known(self, customer_id: str) -> Family | None:
        return self._family(customer_id) if customer_id in self.values else None

    def _family(self, customer_id: str) -> Family:
        root, pointers = customer_id, self.pointers
        while root in pointers:
            root = pointers[root]
        members = {root}
        for _ in pointers:
            members |= {member for member, parent in pointers.items() if parent in members}
        numbered = self.acts.items()
        versions = [number for number, act in numbered if {act.customer_id, act.member_id} & members]
        return Family(customer_id=root, members=ordered(members), version=max(versions, default=0))

    def _append(self, consents: Sequence[Consent]) -> None:
        for consent in consents:
            self.consents[next(self._consent_numbers)] = consent

    def _said(self, members: Sequence[str]) -> list[Consent]:
        return [one for one in self.consents.values() if one.statement.customer_id in members]

    def _owned(self, table: Table, customer_ids: Sequence[str]) -> list[Row]:
        columns = [table.columns.index(column) for column in table.owners]
        return [
            row for row in self._rows(table.name) if {row[column] for column in columns} & {*customer_ids}
        ]

    def _rows(self, table: str) -> list[Row]:
        match table:
            case "customers":
                return [(customer_id,) for customer_id in self.values]
            case "identities":
                return [(*identity, owner) for identity, owner in self.identities.items()]
            case "attributes":
                return [
                    (customer_id, name, record_time, *found)
                    for customer_id, history in self.values.items()
                    for (name, record_time), found in history.items()
                ]
            case "consents":
                return [(number, *consent_row(one)) for number, one in self.consents.items()]
            case "links":
                return [(number, *link_row(act)) for number, act in self.acts.items()]
            case "memberships":
                return [(member_id, *standing) for member_id, standing in self.memberships.items()]
            case "counter":
                return [(1, self._newest_act)]
            case _:
                return list(self.erasures.items())

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
