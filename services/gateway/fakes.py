"""Dependencies for tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from services.chassis.tables import Key, Page, Row, Table, exported, tombstone
from services.engine.instants import microseconds
from services.engine.policy.contact import Contact, Ledger, Response
from services.gateway.adapters.ledger_rows import contact_row, offers_text
from services.gateway.adapters.log_rows import outcome_row
from services.gateway.adapters.tables import TABLES
from services.gateway.domain.knowledge import Cause, Features, Model, Profile, Scores, Unavailable, Vector
from services.gateway.domain.ledger import Claim, Reading, Standing
from services.gateway.domain.outcomes import Answered, OutcomeReport, Settled, settle
from services.gateway.domain.request import CustomerKey
from services.gateway.ports import (
    MOST_OUTCOMES_TOLD,
    DecisionErased,
    LedgerMoved,
    LogEntry,
    LogFull,
    Logged,
    NotLogged,
    ensure_valid,
)


@dataclass(kw_only=True)
class InMemoryProfiles:
    """Implements ``ProfileReader``; raises ``failure`` instead while it is set."""

    profiles: dict[str, Profile] = field(default_factory=dict)
    identities: dict[tuple[str, str], str] = field(default_factory=dict)
    failure: Unavailable | None = None
    as_of_times: list[datetime | None] = field(default_factory=list)

    async def read(self, key: CustomerKey, as_of: datetime | None, timeout: float) -> Profile:
        """Return what was put in; ``found`` is false for anybody else."""
        self.as_of_times.append(as_of)
        _fail(self.failure, timeout)
        customer_id = key.customer_id if key.identity is None else self.identities.get(key.identity, "")
        return self.profiles.get(customer_id, Profile(found=False))


@dataclass(kw_only=True)
class InMemoryFeatures:
    """Implements ``FeatureReader``; raises ``failure`` instead while it is set.

    ``customer`` and ``candidate`` hold the numbers of every customer and every action, ``per_action``
    those of single actions.
    """

    customer: Mapping[str, float] = field(default_factory=dict)
    candidate: Mapping[str, float] = field(default_factory=dict)
    per_action: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sequence: int = 1
    failure: Unavailable | None = None
    read_customers: list[str] = field(default_factory=list)
    read_members: list[tuple[str, ...]] = field(default_factory=list)

    async def reach(self, timeout: float) -> None:
        """Answer as a read would."""
        _fail(self.failure, timeout)

    async def read(
        self,
        members: Sequence[str],
        as_of: datetime,
        action_ids: Sequence[str],
        min_sequence: int,
        timeout: float,
    ) -> Features:
        """Return the same numbers for anybody."""
        self.read_customers.append(members[0])
        self.read_members.append(tuple(members))
        _fail(self.failure, timeout)
        if min_sequence > self.sequence:
            raise Unavailable(Cause.MISMATCH, "SEQUENCE_NOT_REACHED")
        return Features(
            as_of=as_of,
            sequence=self.sequence,
            customer=self.customer,
            ages=dict.fromkeys(self.customer, 60.0),
            candidates={name: self.per_action.get(name, self.candidate) for name in action_ids},
        )


@dataclass(kw_only=True)
class InMemoryScorer:
    """Implements ``Scorer``; raises ``failure`` instead while it is set.

    ``model`` is served, and ``score_row`` makes a propensity of a customer's and a candidate's
    numbers. Vectors of another layout are a mismatch.
    """

    model: Model
    score_row: Callable[[Vector, Vector], float] = lambda customer, candidate: 0.5
    failure: Unavailable | None = None
    described: int = 0
    batches: list[tuple[Vector, Vector]] = field(default_factory=list)
    explained: list[tuple[Vector, Vector]] = field(default_factory=list)

    async def describe(self, timeout: float) -> Model:
        """Return the model."""
        self.described += 1
        _fail(self.failure, timeout)
        return self.model

    async def score(self, fingerprint: str, customer: Vector, candidates: Vector, timeout: float) -> Scores:
        """Score row by row."""
        _fail(self.failure, timeout)
        if fingerprint != self.model.fingerprint:
            raise Unavailable(Cause.MISMATCH, "SCHEMA_MISMATCH")
        self.batches.append((np.copy(customer), np.copy(candidates)))
        propensities = tuple(self.score_row(customer, row) for row in candidates)
        return Scores(propensities=propensities, model_version=self.model.version)

    async def contributions(
        self, model: Model, customer: Vector, candidates: Vector, timeout: float
    ) -> Vector:
        """Return the numbers themselves, missing ones as 0, and a bias of 0.5."""
        _fail(self.failure, timeout)
        if (model.version, model.fingerprint) != (self.model.version, self.model.fingerprint):
            raise Unavailable(Cause.MISMATCH, "SCHEMA_MISMATCH")
        self.explained.append((np.copy(customer), np.copy(candidates)))
        layout = [is_candidate for _, _, is_candidate in model.layout]
        rows = np.full((len(candidates), len(layout) + 1), 0.5)
        rows[:, np.flatnonzero(layout)] = np.nan_to_num(candidates)
        rows[:, np.flatnonzero(np.logical_not(layout))] = np.nan_to_num(customer)
        return rows


@dataclass(kw_only=True)
class InMemoryLog:
    """Implements ``DecisionLog``; neither reads nor writes while ``failure`` is set.

    Appending writes ``queued`` decisions first: a queue of ``queue_limit`` is full, and takes
    records without their trace from its half.
    """

    queue_limit: int = 10_000
    queued: int = 0
    failure: NotLogged | None = None
    entries: dict[tuple[bool, str], LogEntry] = field(default_factory=dict)
    outcomes: dict[str, OutcomeReport] = field(default_factory=dict)
    standings: dict[tuple[str, int], Standing] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    families: dict[str, tuple[str, int]] = field(default_factory=dict)
    model: Model | None = None
    told: dict[str, datetime] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    erasures: dict[str, datetime] = field(default_factory=dict)

    async def find(self, decision_id: str, live: bool) -> Logged | None:
        """Return a decision on record."""
        self._fail()
        entry = self.entries.get((live, decision_id))
        if entry is None:
            if decision_id in self.erased:
                raise DecisionErased
            return None
        return Logged(fingerprint=entry.fingerprint, record_time=entry.record_time, record=entry.record)

    async def append(self, entry: LogEntry) -> Logged | None:
        """Write a decision, or return the one that stands under its id."""
        self._push_back()
        if standing := await self.find(entry.decision_id, entry.live):
            return standing
        ensure_valid(entry.valid_until)
        if entry.reserves:
            self._advance(entry.versions)
        for member in entry.members if entry.live else ():
            if entry.identity_version > self.families.get(member, ("", 0))[1]:
                self.families[member] = (entry.customer_id, entry.identity_version)
        if self.queued * 2 >= self.queue_limit:
            entry = replace(entry, record=entry.without_trace)
        self.entries[entry.live, entry.decision_id] = entry
        for rank, offer in enumerate(entry.offers, start=1) if entry.live else ():
            contact = None
            if offer.claim_by is not None:
                contact = Contact(
                    facts=offer.facts, reserve_time=entry.record_time, expire_time=offer.claim_by
                )
            self.standings[entry.decision_id, rank] = Standing(
                customer_id=entry.customer_id, offer=offer, contact=contact
            )
        return None

    async def family(self, customer_id: str) -> Sequence[str]:
        """Return who was one with a customer."""
        self._fail()
        kept = self.families.get(customer_id)
        return sorted({customer_id, *(member for member, other in self.families.items() if other == kept)})

    async def ledger(self, members: Sequence[str], since: datetime) -> Reading:
        """Read everything that members share."""
        self._fail()
        held = [
            (contact.consume_time or contact.reserve_time or contact.release_time, key, contact)
            for key, one in self.standings.items()
            if one.customer_id in members and (contact := one.contact) is not None
        ]
        responses = [
            Response(
                facts=one.offer.facts,
                kind=report.kind.lower(),
                time=one.offer.after(report.outcome_time),
            )
            for report in sorted(self.outcomes.values(), key=lambda one: (one.outcome_time, one.outcome_id))
            if (one := self.standings.get((report.decision_id, report.rank))) is not None
            and one.customer_id in members
        ]
        return Reading(
            ledger=Ledger(
                contacts=[contact for _, _, contact in sorted(held, key=_order)], responses=responses
            ),
            versions={member: self.versions.get(member, 0) for member in members},
        )

    async def standing(self, decision_id: str, rank: int) -> Standing | None:
        """Return what the ledger holds of one ranked action."""
        self._fail()
        return self.standings.get((decision_id, rank))

    async def claim(
        self,
        decision_id: str,
        rank: int,
        claim: Claim,
        versions: Mapping[str, int],
        valid_until: float = math.inf,
    ) -> Claim:
        """Write the first verdict on a claim, or return the one that stands."""
        self._push_back()
        ensure_valid(valid_until)
        if (before := self.standings.get((decision_id, rank))) is None:
            raise DecisionErased
        if before.claim is not None:
            return before.claim
        self._advance(versions)
        self.standings[decision_id, rank] = before.claimed(claim)
        return claim

    async def record_outcomes(self, outcomes: Sequence[OutcomeReport], now: datetime) -> Settled:
        """Write outcomes and answer each."""
        self._push_back()
        about = {
            decision_id: Answered(
                customer_id=entry.customer_id,
                actions=len(entry.offers),
                standings=[self.standings[decision_id, rank + 1] for rank in range(len(entry.offers))],
            )
            for (live, decision_id), entry in self.entries.items()
            if live
        }
        settled = settle(outcomes, self.outcomes, about, self.erased)
        self.outcomes.update((report.outcome_id, report) for report in settled.fresh)
        self.told.update((report.outcome_id, now) for report in settled.fresh)
        self.standings.update(settled.moved)
        self._move({about[report.decision_id].customer_id for report in settled.fresh})
        return settled

    async def outcomes_of(self, decision_id: str) -> list[OutcomeReport]:
        """Return the first outcomes of a decision."""
        self._fail()
        found = [report for report in self.outcomes.values() if report.decision_id == decision_id]
        return sorted(found, key=lambda one: (one.outcome_time, one.outcome_id))[:MOST_OUTCOMES_TOLD]

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return the rows of customers, from a token on."""
        self._fail()

        async def fetch(table: Table, after: Key | None, limit: int) -> list[Row]:
            held = sorted((table.key_of(row), row) for row in self._rows(table, customer_ids))
            return [row for key, row in held if after is None or key > after][:limit]

        return await exported(fetch, TABLES, page_token)

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], datetime]) -> dict[str, int]:
        """Delete all that belongs to customers."""
        self._push_back()
        counts = {table.name: len(self._rows(table, customer_ids)) for table in TABLES}
        gone = {key for key, entry in self.entries.items() if entry.customer_id in customer_ids}
        self.erased |= {decision_id for _, decision_id in gone}
        self.erasures |= dict.fromkeys(map(tombstone, customer_ids), now())
        self.entries = {key: entry for key, entry in self.entries.items() if key not in gone}
        self.standings = {key: one for key, one in self.standings.items() if (True, key[0]) not in gone}
        self.outcomes = {
            key: report for key, report in self.outcomes.items() if (True, report.decision_id) not in gone
        }
        self.versions = {key: version for key, version in self.versions.items() if key not in customer_ids}
        self.families = {
            member: (root, version)
            for member, (root, version) in self.families.items()
            if member not in customer_ids and root not in customer_ids
        }
        return counts

    def _rows(self, table: Table, customer_ids: Sequence[str]) -> list[Row]:
        match table.name:
            case "decisions" | "dry_run_decisions":
                found = [_decision_row(entry) for entry in self.entries.values()]
                rows = [row for live, row in found if live == (table.name == "decisions")]
            case "outcomes":
                rows = [
                    (
                        *outcome_row(report),
                        microseconds(self.told[outcome_id]),
                        self.entries[True, report.decision_id].customer_id,
                    )
                    for outcome_id, report in self.outcomes.items()
                ]
            case "contacts":
                rows = [contact_row(*key, one) for key, one in self.standings.items() if one.contact]
            case "ledgers":
                rows = list(self.versions.items())
            case "families":
                rows = [(member, *kept) for member, kept in self.families.items()]
            case _:
                return []
        owners = [table.columns.index(owner) for owner in table.owners]
        return [row for row in rows if any(row[owner] in customer_ids for owner in owners)]

    async def last_model(self) -> Model | None:
        """Return the model that was kept last."""
        return None if self.failure else self.model

    async def keep_model(self, model: Model) -> None:
        """Remember a model, unless it cannot be written."""
        if self.failure is None and self.queued < self.queue_limit:
            self.model = model

    def _advance(self, versions: Mapping[str, int]) -> None:
        if any(self.versions.get(member, 0) != version for member, version in versions.items()):
            raise LedgerMoved
        self._move(versions)

    def _move(self, members: Collection[str]) -> None:
        self.versions.update({member: self.versions.get(member, 0) + 1 for member in members})

    def _push_back(self) -> None:
        self._fail()
        if self.queued >= self.queue_limit:
            raise LogFull

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


def _decision_row(entry: LogEntry) -> tuple[bool, Row]:
    row = [entry.decision_id, entry.customer_id, entry.fingerprint, microseconds(entry.record_time)]
    row += [len(entry.offers), entry.record, *([offers_text(entry.offers)] if entry.live else [])]
    return entry.live, tuple(row)


def _order(held: tuple[datetime | None, tuple[str, int], Contact]) -> tuple[object, tuple[str, int]]:
    return held[:2]


def _fail(failure: Unavailable | None, timeout: float) -> None:
    if failure is not None:
        raise failure
    if timeout <= 0:
        raise Unavailable(Cause.TIMEOUT, "no answer in time")
