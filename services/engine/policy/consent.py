"""The consent gate: deny by default, per purpose and channel. No lever can pass it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.engine.playbook.schema.catalogue import Action, Treatment
from services.engine.policy.engagement import Removal

CLASSES_WITHOUT_CONSENT: Final = frozenset({"mandatory", "transactional"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """The newest consent for one purpose on one channel."""

    granted: bool
    expire_time: datetime | None = None


Permissions = Mapping[tuple[str, str], Permission]
"""The newest consents by (purpose, channel); the channel of a use of data is empty."""


def is_granted(permissions: Permissions, purpose: str, channel: str, at: datetime) -> bool:
    """Tell whether a consent stands: deny by default. A grant ends at its expiry, which is exclusive."""
    permission = permissions.get((purpose, channel))
    if permission is None or not permission.granted:
        return False
    return permission.expire_time is None or at < permission.expire_time


def removal(action: Action, treatment: Treatment, permissions: Permissions, at: datetime) -> Removal | None:
    """Tell why a treatment may not leave, or None where it may."""
    if action.action_class in CLASSES_WITHOUT_CONSENT:
        return None
    if is_granted(permissions, action.purpose, treatment.channel, at):
        return None
    permission = permissions.get((action.purpose, treatment.channel))
    what = f"{action.purpose} on {treatment.channel}"
    if permission is None:
        return Removal(stage="consent", rule="not_given", text=f"No consent for {what} is on file.")
    if not permission.granted:
        return Removal(stage="consent", rule="refused", text=f"The customer refused {what}.")
    return Removal(stage="consent", rule="expired", text=f"The consent for {what} has expired.")
