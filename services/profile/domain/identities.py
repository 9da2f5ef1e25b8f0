"""Ways in which a customer is known."""

from __future__ import annotations

from typing import Final, NamedTuple

from services.engine.playbook.playbook import Playbook
from services.engine.violations import Violation, check_text, unknown

LONGEST_VALUE: Final = 256


class Identity(NamedTuple):
    """A kind and a value, compared as they are."""

    kind: str
    value: str


CustomerKey = str | Identity
"""The id of a customer, or one of its identities."""


def check_identity(identity: Identity, playbook: Playbook, field: str, violations: list[Violation]) -> None:
    """Check an identity; ``field`` is its path, or empty where it is the item itself."""
    prefix = f"{field}." if field else ""
    known = playbook.profile.identities
    if identity.kind not in known:
        violations.append(Violation(f"{prefix}kind", unknown(identity.kind, known)))
    check_text(f"{prefix}value", identity.value, violations, least=1, most=LONGEST_VALUE)
