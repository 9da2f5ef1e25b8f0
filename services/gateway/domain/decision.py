"""A decision as a value: the answer and everything that led to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.engine.arbitration.arbitrate import Candidate
from services.engine.playbook.schema import Action, Treatment
from services.engine.policy.engagement import Removal
from services.engine.trace.reasons import Reason
from services.gateway.domain.knowledge import Degradation, Features, ServedBy
from services.gateway.domain.request import Checked


@dataclass(slots=True, kw_only=True)
class Fate:
    """What became of one treatment on its way through the stages."""

    action_id: str
    action: Action
    treatment_id: str
    treatment: Treatment
    removal: Removal | None = None
    candidate: Candidate | None = None
    vector: bytes = b""
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One ranked action with its place and time."""

    fate: Fate
    device: str
    not_before: datetime
    expires: datetime | None
    reasons: Sequence[Reason]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One answered request; ``actions`` empty means "leave this person alone", and ``reasons`` why."""

    checked: Checked
    customer_id: str
    actions: Sequence[Chosen]
    reasons: Sequence[Reason]
    fates: Sequence[Fate]
    served_by: ServedBy
    degradations: Sequence[Degradation]
    playbook_version: str
    feature_set_version: str
    threshold_micros: int
    currency: str
    model_version: str = ""
    schema_fingerprint: str = ""
    customer_vector: bytes = b""
    features: Features | None = None
    time_zone: str = ""
    time_zone_source: str = ""
    timings: Mapping[str, timedelta] = field(default_factory=dict)
    total: timedelta = timedelta()
