"""Decisions on record and what was reported of them, as far as their worth is concerned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One action of an answer; ``value`` and ``cost`` in micro-units of ``currency``."""

    rank: int
    action_id: str
    value: int
    cost: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One decision, ``time`` in microseconds since 1970.

    ``customer_id`` is empty where nobody was known, ``arm`` where the customer is in none, with a
    share of 0. ``members`` are the other ids that were this customer then. ``candidates`` are the actions
    considered, whatever removed them later.
    """

    decision_id: str
    customer_id: str
    time: int
    playbook_version: str
    arm: str
    arm_share: float
    candidates: frozenset[str]
    offered: Sequence[Offered]
    members: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One outcome that was reported of a decision; ``rank`` 0 is about an empty answer."""

    decision_id: str
    rank: int
    kind: str
    time: int
    measures: Mapping[str, float] = field(default_factory=dict)
