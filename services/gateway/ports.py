"""What the gateway's handlers need from outside."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from services.chassis.tables import Page
from services.engine.playbook.playbook import Playbook
from services.gateway.domain.contributions import Contribution
from services.gateway.domain.decision import Decision
from services.gateway.domain.knowledge import Features, Model, Profile, Scores, Vector
from services.gateway.domain.ledger import Claim, Offer, Reading, Standing
from services.gateway.domain.making import Edition
from services.gateway.domain.outcomes import OutcomeReport, Settled
from services.gateway.domain.remaking import Recorded
from services.gateway.domain.replay import Difference
from services.gateway.domain.request import CustomerKey

MOST_OUTCOMES_TOLD: Final = 1_000
"""So many outcomes of one decision are told."""


class ProfileReader(Protocol):
    """Reads what is on file. Raises ``Unavailable`` where there is no answer in time."""

    async def read(self, key: CustomerKey, as_of: datetime | None, timeout: float) -> Profile:
        """Return the profile; ``as_of`` None means the newest, ``timeout`` is in seconds."""
        ...


class FeatureReader(Protocol):
    """Reads event features of one playbook. Raises ``Unavailable`` where there is no answer in time."""

    async def reach(self, timeout: float) -> None:
        """Read nothing, by the same playbook: what raises nothing now can be read."""
        ...

    async def read(
        self,
        members: Sequence[str],
        as_of: datetime,
        action_ids: Sequence[str],
        min_sequence: int,
        timeout: float,
    ) -> Features:
        """Return the features of a customer, named by all its ids, and those of the actions as candidates."""
        ...


class Scorer(Protocol):
    """Scores candidates. Raises ``Unavailable`` where there is no answer in time."""

    async def describe(self, timeout: float) -> Model:
        """Return the served model."""
        ...

    async def score(self, fingerprint: str, customer: Vector, candidates: Vector, timeout: float) -> Scores:
        """Return one propensity for each row of ``candidates``."""
        ...

    async def contributions(
        self, model: Model, customer: Vector, candidates: Vector, timeout: float
    ) -> Vector:
        """Return for each row of ``candidates`` what made its score by a model.

        A row has the contribution of each feature in the order of the model's layout, then the bias.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One decision to log; ``record`` and ``without_trace`` are encoded, the latter without optionals.

    ``offers`` are the ranked actions of a live decision, in order. Where one of them reserves,
    ``versions`` are those of the ledger that it was decided by, of each member. After ``valid_until``, by
    ``time.monotonic``, who is one customer may have changed. ``members`` were one as of the act
    ``identity_version``, which is 0 where there was none, or nobody could tell.
    """

    decision_id: str
    live: bool
    customer_id: str
    fingerprint: str
    record_time: datetime
    offers: Sequence[Offer] = ()
    versions: Mapping[str, int] = field(default_factory=dict)
    valid_until: float = math.inf
    members: Sequence[str] = ()
    identity_version: int = 0
    record: bytes
    without_trace: bytes

    @property
    def reserves(self) -> bool:
        """Tell whether it takes slots of the ledger."""
        return any(offer.claim_by is not None for offer in self.offers)


def ensure_valid(until: float) -> None:
    """Raise ``LeaseOver`` after a moment of ``time.monotonic``; stores ask just before they commit."""
    if time.monotonic() > until:
        raise LeaseOver


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A decision on record."""

    fingerprint: str
    record_time: datetime
    record: bytes


class NotLogged(Exception):
    """A decision could not be written; nothing of it is on record.

    Unless a connection to the store broke amid the commit: then a repeat tells.
    """


class LogFull(Exception):
    """The queue to the log is full; nothing was written."""


class LedgerMoved(Exception):
    """The ledger changed since it was read; nothing was written. Read it again, and decide again."""


class DecisionErased(Exception):
    """The decision was on record and was erased with its customer; nothing was written."""


class LeaseOver(Exception):
    """It took so long that who is one customer may have changed; nothing was written."""


class DecisionLog(Protocol):
    """The gateway's own store of decisions, the contact ledger, outcomes and the last known model.

    Every method but those of the model raises ``NotLogged`` where the store cannot be read or
    written, and those that write ``LogFull`` where the queue is full; nothing was done then.
    """

    async def find(self, decision_id: str, live: bool) -> Logged | None:
        """Return a decision on record.

        Raises:
            DecisionErased: it was, until its customer was erased.
        """
        ...

    async def append(self, entry: LogEntry) -> Logged | None:
        """Write a decision, so that it survives the death of the process, and its reservations with it.

        Returns None once written, or the record that already stands under the same id. A queue
        that runs full takes the record without its trace. A decision that reserves is durable. With a live
        one, who was one customer is kept, unless a later act is known of a member.

        Raises:
            LedgerMoved: it reserves, and a member's ledger is not of the version that it was decided by.
            LeaseOver: ``valid_until`` has passed.
            DecisionErased: one under the same id was erased.
        """
        ...

    async def family(self, customer_id: str) -> Sequence[str]:
        """Return all who were one with a customer, itself included, as the newest act that was kept says."""
        ...

    async def ledger(self, members: Sequence[str], since: datetime) -> Reading:
        """Read the contacts and responses of a customer, over all members, in order of their times.

        Contacts that were taken, or could be until, before ``since`` may be left out, as may earlier
        responses. Versions are never newer than the rest.
        """
        ...

    async def standing(self, decision_id: str, rank: int) -> Standing | None:
        """Return what the ledger holds of one ranked action of a live decision, None where there is none."""
        ...

    async def claim(
        self,
        decision_id: str,
        rank: int,
        claim: Claim,
        versions: Mapping[str, int],
        valid_until: float = math.inf,
    ) -> Claim:
        """Write the first verdict on a claim durably and return it, or the one that stands already.

        One that goes takes the slot, any other gives it back.

        Raises:
            LedgerMoved: a member's ledger is not of the version in ``versions``.
            LeaseOver: ``valid_until`` has passed.
            DecisionErased: there is no such rank any more.
        """
        ...

    async def record_outcomes(self, outcomes: Sequence[OutcomeReport], now: datetime) -> Settled:
        """Write outcomes durably, and what they tell of contacts with them."""
        ...

    async def outcomes_of(self, decision_id: str) -> Sequence[OutcomeReport]:
        """Return the outcomes of a decision by their time, then by their ids.

        Of more than ``MOST_OUTCOMES_TOLD`` the first.
        """
        ...

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return the rows of all tables that belong to customers, from a token on.

        Raises:
            InvalidRow: the token is none.
        """
        ...

    async def erase(self, customer_ids: Sequence[str], now: Callable[[], datetime]) -> Mapping[str, int]:
        """Delete all that belongs to customers, durably and in one step; return how much, by table.

        The ids of their decisions stay, and a hash of each customer's id. ``now`` is asked for the time once
        nothing holds the erasure up any more.
        """
        ...

    async def last_model(self) -> Model | None:
        """Return the model that was kept last, None where none was or it cannot be read."""
        ...

    async def keep_model(self, model: Model) -> None:
        """Remember a model for the time when scoring is out of reach; a failure is of no consequence."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A decision as the transport and the log want it."""

    response: object
    record: bytes
    without_trace: bytes


class Encoder(Protocol):
    """Turns decisions into what is answered and logged, and back."""

    def encode(self, decision: Decision, record_time: datetime) -> Encoded:
        """Encode a decision."""
        ...

    def response(self, record: bytes) -> object:
        """Return the answer that a record holds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a model was shown: the customer's vector, and a row for each action that it scored."""

    model_version: str
    fingerprint: str
    customer: Vector
    rows: Mapping[str, Vector]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """New scores by action, and the model that made them: the same that made those on record."""

    model: Model
    propensities: Mapping[str, float]


class Rescorer(Protocol):
    """Scores again what a model was shown."""

    async def rescore(self, shown: Shown, timeout: float) -> Rescored:
        """Score by the very model that did.

        Raises:
            Unavailable: it is not at hand, or there is no answer in time.
        """
        ...


class NotRemade(Exception):
    """A decision cannot be made again from its record; the message says exactly what is missing."""


class Recollection(Protocol):
    """A decision on record, on its way to be made again."""

    @property
    def playbook_version(self) -> str:
        """Return the version that the decision was made by."""
        ...

    @property
    def shown(self) -> Shown | None:
        """Return what the model was shown, None where no model scored."""
        ...

    def recorded(self, edition: Edition) -> Generator[None, None, Recorded]:
        """Return what the decision rested on.

        At each yield, here and below, other work may have its turn.

        Raises:
            NotRemade: the record cannot be read, or is not of this edition.
        """
        ...


class Replica(Recollection, Protocol):
    """A decision on record, on its way to be compared with its replay."""

    def differences(
        self, edition: Edition, decision: Decision, tolerance: float
    ) -> Generator[None, None, Sequence[Difference]]:
        """Return the first fields in which a decision is not answered or logged as the one on record.

        Numbers may differ by ``tolerance``; timings are those on record.
        """
        ...


class Story(Recollection, Protocol):
    """A decision on record, on its way to who asks why."""

    @property
    def is_explained(self) -> bool:
        """Tell whether the record holds the explanation already."""
        ...

    def is_told_by(self, decision: Decision) -> bool:
        """Tell whether a decision is answered as the one on record was."""
        ...

    def explain(self, decision: Decision, playbook: Playbook) -> Generator[None, None, None]:
        """Add the explanation of the same decision."""
        ...

    def contribute(self, action_id: str, contributions: Sequence[Contribution]) -> None:
        """Add what made the score of one action."""
        ...

    def told(self, outcomes: Sequence[OutcomeReport], contributions_missing: str) -> object:
        """Return the whole story."""
        ...
