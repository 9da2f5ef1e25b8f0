"""Short reasons in plain sentences; the code of each is stable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from services.engine.arbitration.slate import Ranked, Slate
from services.engine.policy.engagement import Removal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One answer to "why?"."""

    code: str
    text: str


_ARMS: Final = {
    "random_eligible": "To measure what ranking is worth, a small share of customers is decided for by lot.",
    "no_levers": "To measure what levers are worth, a small share of customers is decided for without.",
    "propensity_only": "To measure what values are worth, a small share of customers is decided for by"
    " chance of success alone.",
    "eligibility_only": "To measure what rules are worth, a small share of customers is decided for with"
    " those of eligibility and protection only.",
    "hold_out": "To measure what all of it is worth, a small share of customers is left alone.",
}


def for_action(
    ranked: Ranked,
    *,
    why: str,
    prior: float | None,
    from_prior: bool,
    currency: str,
    factors: Sequence[tuple[str, str]],
    moved_by: Sequence[str],
    bundle: str,
    arm: str,
) -> list[Reason]:
    """Say why an action was chosen, the weightiest first.

    ``why`` is the playbook's own reason, ``prior`` the base rate of its group, None if unknown;
    ``from_prior`` says that the propensity is that base rate because no score was to be had.
    ``factors`` are the kinds and sentences of what changed its worth, ``moved_by`` the sentences of what
    moved it to later, ``bundle`` that of the bundle it came with.
    """
    candidate, found = ranked.candidate, []
    if why:
        found.append(Reason(code="WHY", text=why))
    if candidate.action_class == "mandatory":
        found.append(Reason(code="MANDATORY", text="This has to be said, whatever else could be."))
    if candidate.action_class == "default":
        found.append(Reason(code="DEFAULT", text="Nothing else was left to offer."))
    if bundle:
        found.append(Reason(code="BUNDLE", text=bundle))
    found += _worth(ranked, prior, from_prior, currency)
    found += [Reason(code=kind.upper(), text=text) for kind, text in factors]
    if ranked.explored:
        text = f"It was drawn with a probability of {ranked.selection_probability:.1%}, to learn from it."
        found.append(Reason(code="EXPLORED", text=text))
    found += [Reason(code="LATER", text=text) for text in moved_by]
    if arm:
        found.append(Reason(code="CONTROL_ARM", text=_ARMS[arm]))
    return found


def _worth(ranked: Ranked, prior: float | None, from_prior: bool, currency: str) -> list[Reason]:
    candidate = ranked.candidate
    propensity = candidate.propensity
    if propensity is None:
        if candidate.action_class == "mandatory":
            return []
        return [Reason(code="DEGRADED", text="Allowed without a score while scoring is away.")]
    if from_prior:
        text = (
            f"The usual chance in this group is {propensity:.1%}; no score for this customer was to be had."
        )
        chance = Reason(code="PRIOR", text=text)
    else:
        code = "LIKELY" if prior is None or propensity >= prior else "UNLIKELY"
        text = f"The chance of success is estimated at {propensity:.1%}"
        if prior:
            text += f", {propensity / prior:.1f} times the usual {prior:.1%} of this group"
        chance = Reason(code=code, text=text + ".")
    costs = candidate.cost_micros + candidate.extra_cost_micros
    value, cost = (micros / 1e6 for micros in (candidate.value_micros, costs))
    text = f"Success is worth {value:,.2f} {currency}; the attempt costs {cost:,.2f}."
    return [chance, Reason(code="VALUE", text=text)]


def for_silence(
    removed: Collection[Removal], slate: Slate, threshold_micros: int, currency: str, arm: str
) -> list[Reason]:
    """Say why there is no action: what doing nothing beat, then what each stage removed.

    Of each stage the most frequent texts, ties by alphabet.
    """
    reasons = []
    beaten = slate.beaten
    if beaten is not None and slate.ended_by_draw:
        text = f"Doing nothing was drawn with a probability of {slate.end_probability:.1%}, to learn from it."
        reasons.append(Reason(code="EXPLORED", text=text))
    elif beaten is not None and (priority := beaten.priority_in(arm)) is not None:
        by_chance = arm == "propensity_only" and not beaten.ignores_arms
        least = 0.0 if by_chance else threshold_micros / 1e6
        text = (
            f"Doing nothing is better: the best candidate, {beaten.action_id}, is worth "
            f"{priority:,.4f} {currency}, not more than {least:,.4f}."
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
    ("CONTROL_ARM", ("arm",)),
    ("SUPPRESSED", ("suppression",)),
    ("POINTLESS", ("stop",)),
    ("CONTACT_POLICY", ("contact",)),
    ("VETOED", ("veto",)),
    ("UNLIKELY_ALL", ("arbitration",)),
    ("NO_CONSENT", ("consent",)),
    ("NOT_ELIGIBLE", ("eligibility", "applicability", "suitability")),
    ("NOT_POSSIBLE", ("place", "content")),
    ("DEGRADED", ("score",)),
)
