"""What a decision knows of a customer and of the model, and what it has to do without."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from services.engine.playbook.values import Value
from services.engine.policy.consent import Permission

Vector = NDArray[np.float64]


class Source(Enum):
    """A dependency that a decision may have to do without."""

    PROFILE = auto()
    FEATURES = auto()
    SCORING = auto()
    DECISION_LOG = auto()


class Cause(Enum):
    """Why a dependency did not help."""

    TIMEOUT = auto()
    UNAVAILABLE = auto()
    ERROR = auto()
    MISMATCH = auto()


class ServedBy(Enum):
    """The level at which a decision was made, best first."""

    MODEL = auto()
    LAST_GOOD_FEATURES = auto()
    PRIORS = auto()
    RULES = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """One dependency that a decision did without; ``detail`` holds no personal data."""

    source: Source
    cause: Cause
    detail: str


class Unavailable(Exception):
    """A dependency gave no usable answer; the caller of a port turns it into a degradation."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail

    def of(self, source: Source) -> Degradation:
        """Return the degradation of a decision that has to do without ``source``."""
        return Degradation(source=source, cause=self.cause, detail=self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """When a value became known, and from whom."""

    record_time: datetime
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is on file; ``permissions`` by (purpose, channel), ``origins`` by attribute.

    ``members`` are all ids that are this customer, its own included, and ``identity_version`` is the
    newest act about who is. They may be acted on for ``lease`` seconds from before the read. Where
    ``is_read`` is false the profile is out of reach, and there may be other members.
    """

    found: bool = True
    customer_id: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    permissions: Mapping[tuple[str, str], Permission] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    identity_version: int = 0
    lease: float = math.inf
    is_read: bool = True

    def __post_init__(self) -> None:
        if not self.members:
            object.__setattr__(self, "members", (self.customer_id,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Event features by name, NaN where missing; ``candidates`` by action id.

    ``ages`` are the seconds between ``as_of`` and the newest event behind each customer feature.
    """

    as_of: datetime
    sequence: int
    customer: Mapping[str, float]
    ages: Mapping[str, float]
    candidates: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The served model: its layout as (name, definition hash, is candidate), and its base rates."""

    version: str
    fingerprint: str
    layout: tuple[tuple[str, str, bool], ...]
    priors: Mapping[str, float]
    overall_prior: float

    def prior(self, group: str) -> float:
        """Return the base rate of a group; the overall one where training never saw it."""
        return self.priors.get(group, self.overall_prior)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Calibrated propensities in the candidates' order, and the version that made them."""

    propensities: tuple[float, ...]
    model_version: str
