"""The pure steps of a decision: one and the same when it is made and when it is made again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.playbook import Playbook
from services.gateway.domain import answer, funnel
from services.gateway.domain.decision import Conclusion, Decision, Fate
from services.gateway.domain.knowledge import Degradation, Profile, ServedBy
from services.gateway.domain.request import Checked
from services.gateway.domain.scoring import Scored
from services.gateway.domain.situation import Situation
from services.gateway.domain.timing import Stopwatch


class Edition(NamedTuple):
    """One version of a playbook, and its features ready to compute."""

    playbook: Playbook
    feature_set: FeatureSet


def narrow(
    edition: Edition, fates: Sequence[Fate], situation: Situation, checked: Checked, watch: Stopwatch
) -> None:
    """Remove what policies, consent, caps, place and content do not leave.

    Each treatment is judged by itself, so some now and the others later come to the same.
    """
    with watch.stage("policy"):
        funnel.apply_engagement_policy(edition.playbook, fates, situation)
    with watch.stage("consent"):
        funnel.apply_consent(fates, situation, checked)
    with watch.stage("contact"):
        funnel.apply_contact_policy(edition.playbook, fates, situation)
    with watch.stage("place"):
        funnel.apply_place(edition.playbook, fates, situation, checked)


def concluded(
    edition: Edition,
    fates: Sequence[Fate],
    situation: Situation,
    checked: Checked,
    scored: Scored,
    degradations: Sequence[Degradation],
) -> Decision:
    """Choose from the candidates; ``degradations`` came before those of scoring."""
    from_prior = scored.served_by is ServedBy.PRIORS
    answer.withhold(edition.playbook, fates, situation)
    return Decision(
        checked=checked,
        customer_id=situation.profile.customer_id,
        conclusion=answer.conclude(edition.playbook, fates, situation, checked, from_prior),
        fates=fates,
        served_by=scored.served_by,
        degradations=[*degradations, *scored.degradations],
        playbook_version=edition.playbook.version,
        feature_set_version=edition.feature_set.version,
        threshold_micros=edition.playbook.head.threshold,
        currency=edition.playbook.head.currency,
        situation=situation,
        model_version=scored.model_version,
        schema_fingerprint=scored.fingerprint,
        customer_vector=scored.customer_vector,
    )


def about_nobody(
    edition: Edition, checked: Checked, profile: Profile | None, degradations: Sequence[Degradation]
) -> Decision:
    """Do nothing for who is not on file, or, without a ``profile``, for who cannot be told."""
    unresolved = profile is None
    return Decision(
        checked=checked,
        customer_id=checked.customer.customer_id,
        conclusion=Conclusion(
            actions=[], reasons=[answer.UNRESOLVED if unresolved else answer.UNKNOWN_CUSTOMER]
        ),
        fates=[],
        served_by=ServedBy.NOTHING if unresolved else ServedBy.MODEL,
        degradations=degradations,
        playbook_version=edition.playbook.version,
        feature_set_version=edition.feature_set.version,
        threshold_micros=edition.playbook.head.threshold,
        currency=edition.playbook.head.currency,
    )
