"""What one decision knows, as policies may see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.engine import instants
from services.engine.arbitration.arms import arm_of
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook import values
from services.engine.playbook.playbook import Playbook
from services.engine.policy import consent
from services.engine.policy.contact import ContactPolicy, Ledger
from services.engine.policy.verdicts import Asked, Verdict, Verdicts
from services.engine.policy.zones import Zones, zones_of_country
from services.gateway.domain.knowledge import Features, Profile
from services.gateway.domain.request import Checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A customer at a moment: what lacks a consent is missing.

    ``computed`` holds the profile and context features, ``values`` all variables of the decision;
    ``actor_zones`` is where the recipient of advice is. ``ledger`` is None where the playbook has no
    contact policy, which judges as of ``contact_time``.
    """

    profile: Profile
    features: Features | None
    computed: Mapping[str, float]
    values: Mapping[str, Any]
    verdicts: Verdicts
    zones: Zones
    actor_zones: Zones
    arm: str
    arm_share: float
    ledger: Ledger | None
    contact_time: datetime
    contacts: ContactPolicy


def assess(
    playbook: Playbook,
    feature_set: FeatureSet,
    checked: Checked,
    profile: Profile,
    features: Features | None,
    ledger: Ledger | None = None,
    withheld: Mapping[Asked, Verdict] | None = None,
    contact_time: datetime | None = None,
) -> Situation:
    """Put together what policies may see; ``withheld`` are verdicts on record, as in a replay.

    ``contact_time`` is the gateway's own time, so that all callers' contacts are counted by one clock;
    without it that of the decision.
    """
    at = checked.decision_time
    profile = _permitted_profile(playbook, profile, at)
    denied = _denied(playbook, profile, at)
    features = None if features is None else _without(features, denied)
    zones = zones_of(checked, profile.attributes, playbook)
    local = zones.local_time(at)
    computed = feature_set.profile_values(profile.attributes)
    computed |= feature_set.context_values(checked.context, local)
    for name in denied & computed.keys():
        computed[name] = math.nan
    bound = _values(playbook, checked, profile, features, computed, local)
    arm, share = arm_of(playbook.head.control_arms, playbook.head.name, profile.customer_id)
    actor = checked.request.actor
    return Situation(
        profile=profile,
        features=features,
        computed=computed,
        values=bound,
        verdicts=Verdicts(playbook, bound, action_values(playbook, feature_set, features), withheld),
        zones=zones,
        actor_zones=_actor_zones(playbook, checked) if actor else zones,
        arm=arm,
        arm_share=share,
        ledger=ledger,
        contact_time=contact_time or at,
        contacts=ContactPolicy(
            ledger or Ledger(), home_of(profile.attributes, playbook).zones, contact_time or at
        ),
    )


def zones_of(checked: Checked, attributes: Mapping[str, values.Value], playbook: Playbook) -> Zones:
    """Return where the customer's day is told: request, else profile, else country, else playbook."""
    if checked.zone is not None:
        return Zones(zones=(checked.zone,), source="request")
    return home_of(attributes, playbook, checked.request.context.country)


def home_of(attributes: Mapping[str, values.Value], playbook: Playbook, country: str = "") -> Zones:
    """Return where the customer lives by profile, else by country, else by playbook.

    Without a ``country`` it is that on file.
    """
    if (zone := instants.time_zone(_on_file("time_zone", attributes, playbook))) is not None:
        return Zones(zones=(zone,), source="profile")
    country = country or _on_file("country", attributes, playbook)
    if country and (zones := zones_of_country(country)):
        return Zones(zones=zones, source="country")
    return Zones(zones=(instants.zone(playbook.head.time_zone),), source="playbook")


def _on_file(name: str, attributes: Mapping[str, values.Value], playbook: Playbook) -> str:
    """Return a word that is kept of a customer; what is borrowed or displayed tells no zone."""
    declared = playbook.profile.attributes.get(name)
    if declared is None or declared.provenance in ("borrowed", "displayed"):
        return ""
    return str(attributes.get(name, ""))


def _actor_zones(playbook: Playbook, checked: Checked) -> Zones:
    if checked.actor_zone is not None:
        return Zones(zones=(checked.actor_zone,), source="actor")
    return Zones(zones=(instants.zone(playbook.head.time_zone),), source="playbook")


def candidate_values(feature_set: FeatureSet, features: Features | None, action_id: str) -> dict[str, float]:
    """Return the candidate features of an action; without ``features`` those of the action alone."""
    served = {} if features is None else features.candidates.get(action_id, {})
    return {**feature_set.action_values(action_id), **served}


def _permitted_profile(playbook: Playbook, profile: Profile, at: datetime) -> Profile:
    """Leave out the attributes whose use the customer did not permit."""
    declared = playbook.profile.attributes
    hidden = {
        name
        for name in profile.attributes
        if (purpose := declared[name].consent) is not None
        and not consent.is_granted(profile.permissions, purpose, "", at)
    }
    if not hidden:
        return profile
    return replace(
        profile,
        attributes={name: value for name, value in profile.attributes.items() if name not in hidden},
        origins={name: origin for name, origin in profile.origins.items() if name not in hidden},
    )


def _denied(playbook: Playbook, profile: Profile, at: datetime) -> frozenset[str]:
    """Return the features that rest on something whose use the customer did not permit."""
    return frozenset(
        name
        for name, purposes in playbook.feature_consents.items()
        if not all(consent.is_granted(profile.permissions, purpose, "", at) for purpose in purposes)
    )


def permitted_features(playbook: Playbook, profile: Profile, features: Features, at: datetime) -> Features:
    """Make missing what rests on something whose use the customer did not permit."""
    return _without(features, _denied(playbook, profile, at))


def _without(features: Features, denied: frozenset[str]) -> Features:
    if not denied:
        return features

    def permitted(numbers: Mapping[str, float]) -> dict[str, float]:
        return {name: math.nan if name in denied else number for name, number in numbers.items()}

    return replace(
        features,
        customer=permitted(features.customer),
        ages=permitted(features.ages),
        candidates={action_id: permitted(row) for action_id, row in features.candidates.items()},
    )


def _values(
    playbook: Playbook,
    checked: Checked,
    profile: Profile,
    features: Features | None,
    computed: Mapping[str, float],
    local: Mapping[str, int],
) -> dict[str, Any]:
    """Bind the variables of the decision; what has no entry is missing."""
    bound: dict[str, Any] = {}
    for prefix, declared, found in (
        ("profile", playbook.profile.attributes, profile.attributes),
        ("context", playbook.head.context, checked.context),
    ):
        for name, value in found.items():
            attribute = declared.get(name)
            bound[f"{prefix}.{name}"] = value if attribute is None else values.native(attribute, value)
    bound |= {f"time.{name}": number for name, number in local.items()}
    bound["time.now"] = checked.decision_time
    if (actor := checked.request.actor) is not None:
        bound |= {f"actor.{n}": v for n, v in (("id", actor.id), ("device", actor.device)) if v}
    bound |= _known(computed)
    if features is not None:
        bound |= _known(features.customer)
    return bound


def action_values(
    playbook: Playbook, feature_set: FeatureSet, features: Features | None
) -> Callable[[str], Mapping[str, Any]]:
    """Return what binds the variables of an action."""

    def of_action(action_id: str) -> dict[str, Any]:
        own = candidate_values(feature_set, features, action_id)
        return {**playbook.action_variables[action_id], **_known(own)}

    return of_action


def _known(numbers: Mapping[str, float]) -> dict[str, float]:
    return {f"feature.{name}": number for name, number in numbers.items() if not math.isnan(number)}
