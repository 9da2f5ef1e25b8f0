"""A decision as a value: the answer and everything that led to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from services.engine.arbitration.candidates import Candidate
from services.engine.playbook.playbook import DO_NOTHING
from services.engine.playbook.schema.catalogue import Action, Treatment
from services.engine.policy.contact import Facts, facts_of
from services.engine.policy.engagement import Removal
from services.engine.policy.place import Place
from services.engine.trace.reasons import Reason
from services.gateway.domain.knowledge import Degradation, ServedBy
from services.gateway.domain.ledger import Offer
from services.gateway.domain.request import Checked
from services.gateway.domain.situation import Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One factor of a candidate's worth.

    ``amount`` of a measure or a repeat cost is what it adds, in currency units; ``reads`` are the variables
    that made it so.
    """

    kind: Literal["weight", "lever", "measure", "promise", "repeat_cost"]
    name: str
    text: str
    amount: float
    reads: frozenset[str] = frozenset()

    @property
    def matters(self) -> bool:
        """Tell whether it changes anything."""
        return self.amount != (0.0 if self.kind in ("measure", "repeat_cost") else 1.0)


@dataclass(slots=True, kw_only=True)
class Fate:
    """What became of one treatment on its way through the stages."""

    action_id: str
    action: Action
    treatment_id: str
    treatment: Treatment
    recipient: Literal["customer", "actor"] = "customer"
    removal: Removal | None = None
    place: Place | None = None
    content: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    factors: Sequence[Factor] = ()
    candidate: Candidate | None = None
    propensity: float | None = None
    prior: float | None = None
    vector: bytes = b""
    rank: int = 0

    @property
    def needs_no_consent(self) -> bool:
        """Tell whether it has to be said: such actions ignore control arms."""
        return self.action.action_class in ("mandatory", "transactional")

    @property
    def key(self) -> tuple[str, str]:
        """Return the ids of action and treatment."""
        return self.action_id, self.treatment_id

    @property
    def facts(self) -> Facts:
        """Return what the contact policy asks of it."""
        return facts_of(self.action_id, self.action, self.treatment_id, self.treatment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One ranked action; ``bundle`` is the one that it came with, empty where it came for itself.

    ``offer`` is what the ledger has to know of it.
    """

    fate: Fate
    candidate: Candidate
    place: Place
    priority: float | None
    selection_probability: float
    bundle: str
    reasons: Sequence[Reason]
    offer: Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What arbitration made of the candidates.

    ``rank_one`` is the distribution of the first drawn rank by (action, treatment); ``reasons`` say
    why there is no action.
    """

    actions: Sequence[Chosen]
    reasons: Sequence[Reason]
    rank_one: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def rank_one_probability(self, action_id: str, treatment_id: str) -> float:
        """Return the probability of being the first that is drawn; 1 for what is certain to come before.

        Where nothing was arbitrated, doing nothing is certain.
        """
        for chosen in self.actions:
            if chosen.fate.key == (action_id, treatment_id) and chosen.candidate.action_class == "mandatory":
                return 1.0
        if not self.rank_one:
            return float(action_id == DO_NOTHING)
        return self.rank_one.get((action_id, treatment_id), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One answered request; ``actions`` empty means "leave this person alone", and ``reasons`` why.

    ``situation`` is None where nobody knows whom the decision is about.
    """

    checked: Checked
    customer_id: str
    conclusion: Conclusion
    fates: Sequence[Fate]
    served_by: ServedBy
    degradations: Sequence[Degradation]
    playbook_version: str
    feature_set_version: str
    threshold_micros: int
    currency: str
    situation: Situation | None = None
    model_version: str = ""
    schema_fingerprint: str = ""
    customer_vector: bytes = b""
    timings: Mapping[str, timedelta] = field(default_factory=dict)
    total: timedelta = timedelta()

    @property
    def actions(self) -> Sequence[Chosen]:
        """Return the answer's actions, best first."""
        return self.conclusion.actions

    @property
    def arm(self) -> str:
        """Return the customer's control arm, empty for most."""
        return "" if self.situation is None else self.situation.arm
