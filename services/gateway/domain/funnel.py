"""Candidates, and what policies and consent leave of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.engine.playbook.playbook import Playbook
from services.engine.policy import consent, engagement
from services.gateway.domain.decision import Fate
from services.gateway.domain.knowledge import Features, Profile
from services.gateway.domain.request import Checked


def live_candidates(playbook: Playbook, checked: Checked) -> list[Fate]:
    """Return the treatments that are live at the decision's time and were asked for."""
    action_ids, groups = frozenset(checked.request.action_ids), frozenset(checked.request.groups)
    return [
        Fate(action_id=action_id, action=action, treatment_id=treatment_id, treatment=treatment)
        for action_id, action, treatment_id, treatment in playbook.treatments()
        if playbook.is_live(action_id, checked.decision_time)
        and (not action_ids or action_id in action_ids)
        and (not groups or action.group in groups)
    ]


def apply_engagement_policy(
    playbook: Playbook,
    fates: Sequence[Fate],
    values: Mapping[str, Any],
    candidate_values: Callable[[str], Mapping[str, float]],
) -> None:
    """Remove what is not eligible, applicable and suitable; a missing value removes.

    ``candidate_values`` returns the candidate features of an action.
    """

    def of_action(action_id: str) -> dict[str, Any]:
        action = playbook.actions[action_id]
        own: dict[str, Any] = {
            "action.id": action_id,
            "action.group": action.group,
            "action.class": action.action_class,
            "action.purpose": action.purpose,
        }
        own |= {f"action.{name}": value for name, value in playbook.action_attributes[action_id].items()}
        return own | _known("feature", candidate_values(action_id))

    remaining = list(dict.fromkeys(fate.action_id for fate in fates if fate.removal is None))
    removed = engagement.removals(playbook, remaining, values, of_action)
    for fate in fates:
        fate.removal = fate.removal or removed.get(fate.action_id)


def apply_consent(fates: Sequence[Fate], profile: Profile, at: datetime) -> None:
    """Remove what the customer did not permit. Without a profile, nothing is permitted."""
    for fate in fates:
        if fate.removal is None:
            fate.removal = consent.removal(fate.action, fate.treatment, profile.permissions, at)


def rule_values(
    checked: Checked,
    profile: Profile,
    features: Features | None,
    computed: Mapping[str, float],
    local: datetime,
) -> dict[str, Any]:
    """Bind the variables of the decision; what has no entry is missing.

    ``computed`` holds the profile and context features.
    """
    bound: dict[str, Any] = {f"profile.{name}": value for name, value in profile.attributes.items()}
    bound |= {f"context.{name}": value for name, value in checked.context.items()}
    bound |= {"time.hour": local.hour, "time.weekday": local.isoweekday()}
    bound |= _known("feature", computed)
    if features is not None:
        bound |= _known("feature", features.customer)
    return bound


def _known(prefix: str, numbers: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}.{name}": number for name, number in numbers.items() if not math.isnan(number)}
