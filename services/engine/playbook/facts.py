"""What statements are asked about: a treatment, as scopes see it."""

from __future__ import annotations

from dataclasses import dataclass

from services.engine.playbook.schema.catalogue import Action, Treatment
from services.engine.playbook.schema.policies import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What scopes ask of a treatment, as it was when it was offered."""

    action_id: str
    treatment_id: str
    group: str
    channel: str
    purpose: str
    action_class: str


def facts_of(action_id: str, action: Action, treatment_id: str, treatment: Treatment) -> Facts:
    """Return what scopes ask of a treatment, as the playbook has it now."""
    return Facts(
        action_id=action_id,
        treatment_id=treatment_id,
        group=action.group,
        channel=treatment.channel,
        purpose=action.purpose,
        action_class=action.action_class,
    )


def is_about(scope: Scope, facts: Facts) -> bool:
    """Tell whether a treatment lies in a scope."""
    if (scope.groups or scope.actions or scope.treatments) and not (
        facts.group in scope.groups
        or facts.action_id in scope.actions
        or f"{facts.action_id}/{facts.treatment_id}" in scope.treatments
    ):
        return False
    return (
        (not scope.purposes or facts.purpose in scope.purposes)
        and (not scope.channels or facts.channel in scope.channels)
        and (not scope.classes or facts.action_class in scope.classes)
    )
