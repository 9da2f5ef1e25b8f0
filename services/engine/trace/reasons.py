"""Short reasons in plain sentences; the code of each is stable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.engine.arbitration.arbitrate import Candidate
from services.engine.policy.engagement import Removal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One answer to "why?"."""

    code: str
    text: str


def for_action(candidate: Candidate, prior: float | None, from_prior: bool, currency: str) -> list[Reason]:
    """Say why an action was chosen, the weightiest first.

    ``prior`` is the base rate of its group, None if unknown; ``from_prior`` says that the propensity
    is that base rate because no score was to be had.
    """
    reasons = []
    if candidate.mandatory:
        reasons.append(Reason(code="MANDATORY", text="This has to be said, whatever else could be."))
    propensity = candidate.propensity
    if propensity is None:
        return reasons or [Reason(code="DEGRADED", text="Allowed without a score while scoring is away.")]
    if from_prior:
        text = (
            f"The usual chance in this group is {propensity:.1%}; no score for this customer was to be had."
        )
        reasons.append(Reason(code="PRIOR", text=text))
    else:
        code = "LIKELY" if prior is None or propensity >= prior else "UNLIKELY"
        text = f"The chance of success is estimated at {propensity:.1%}"
        if prior:
            text += f", {propensity / prior:.1f} times the usual {prior:.1%} of this group"
        reasons.append(Reason(code=code, text=text + "."))
    value, cost = (micros / 1e6 for micros in (candidate.value_micros, candidate.cost_micros))
    reasons.append(
        Reason(code="VALUE", text=f"Success is worth {value:,.2f} {currency}; the attempt costs {cost:,.2f}.")
    )
    return reasons


def for_silence(
    removed: Collection[Removal], beaten: Candidate | None, threshold_micros: int, currency: str
) -> list[Reason]:
    """Say why there is no action: what doing nothing beat, then what each stage removed.

    Of each stage the most frequent texts, ties by alphabet.
    """
    reasons = []
    if beaten is not None and beaten.priority is not None:
        text = (
            f"Doing nothing is better: the best candidate, {beaten.action_id}, is worth "
            f"{beaten.priority:,.4f} {currency}, not more than {threshold_micros / 1e6:,.4f}."
        )
        reasons.append(Reason(code="BELOW_THRESHOLD", text=text))
    for code, stages in _CODES:
        texts = Counter(removal.text for removal in removed if removal.stage in stages)
        reasons += [
            Reason(code=code, text=text if count == 1 else f"{text} ({count} candidates)")
            for text, count in sorted(texts.items(), key=lambda found: (-found[1], found[0]))[:_MOST_TEXTS]
        ]
    return reasons or [Reason(code="NO_CANDIDATE", text="No action is live for this customer at this time.")]


_MOST_TEXTS = 3
_CODES: Sequence[tuple[str, Collection[str]]] = (
    ("NO_CONSENT", ("consent",)),
    ("NOT_ELIGIBLE", ("eligibility", "applicability", "suitability")),
    ("DEGRADED", ("score",)),
)
