"""What the gateway's handlers need from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.gateway.domain.decision import Decision
from services.gateway.domain.knowledge import Features, Model, Profile, Scores, Vector
from services.gateway.domain.outcomes import OutcomeReport, Verdict
from services.gateway.domain.request import CustomerKey


class ProfileReader(Protocol):
    """Reads what is on file. Raises ``Unavailable`` where there is no answer in time."""

    async def read(self, key: CustomerKey, as_of: datetime | None, timeout: float) -> Profile:
        """Return the profile; ``as_of`` None means the newest, ``timeout`` is in seconds."""
        ...


class FeatureReader(Protocol):
    """Reads event features. Raises ``Unavailable`` where there is no answer in time."""

    async def read(
        self, customer_id: str, as_of: datetime, action_ids: Sequence[str], min_sequence: int, timeout: float
    ) -> Features:
        """Return the customer's features and the candidate features of the actions."""
        ...


class Scorer(Protocol):
    """Scores candidates. Raises ``Unavailable`` where there is no answer in time."""

    async def describe(self, timeout: float) -> Model:
        """Return the served model."""
        ...

    async def score(self, fingerprint: str, customer: Vector, candidates: Vector, timeout: float) -> Scores:
        """Return one propensity for each row of ``candidates``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One decision to log; ``record`` and ``without_trace`` are encoded, the latter without optionals."""

    decision_id: str
    live: bool
    customer_id: str
    fingerprint: str
    record_time: datetime
    actions: int
    record: bytes
    without_trace: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A decision on record."""

    fingerprint: str
    record_time: datetime
    record: bytes


class NotLogged(Exception):
    """A decision could not be written; nothing of it is on record."""


class LogFull(Exception):
    """The queue to the log is full; nothing was written."""


class DecisionLog(Protocol):
    """The gateway's own store of decisions, outcomes and the last known model."""

    def find(self, decision_id: str, live: bool) -> Logged | None:
        """Return a decision on record.

        Raises:
            NotLogged: the store cannot be read.
        """
        ...

    async def append(self, entry: LogEntry) -> Logged | None:
        """Write a decision, so that it survives the death of the process.

        Returns None once written, or the record that already stands under the same id. A queue
        that runs full takes the record without its trace.

        Raises:
            LogFull: the queue is full.
            NotLogged: it cannot be written.
        """
        ...

    async def record_outcomes(self, outcomes: Sequence[OutcomeReport], now: datetime) -> list[Verdict]:
        """Write outcomes durably, and answer each in order.

        Raises:
            LogFull: the queue is full.
            NotLogged: they cannot be written.
        """
        ...

    def last_model(self) -> Model | None:
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
