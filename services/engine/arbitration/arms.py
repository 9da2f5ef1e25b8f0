"""Control arms: small standing shares of customers who are decided for differently."""

from __future__ import annotations

from collections.abc import Mapping

from services.engine.arbitration.draw import unit
from services.engine.playbook.schema.head import Arm


def arm_of(shares: Mapping[Arm, float], playbook_name: str, customer_id: str) -> tuple[str, float]:
    r"""Return the arm of a customer and its share; ``("", 0.0)`` for most, who are in none.

    The arms divide [0, 1) in the order of their names, from 0 on; a customer's point is ``unit`` of
    ``"{playbook_name}\n{customer_id}"``. So a customer stays where they are from decision to
    decision, and over every edit of the playbook but one of the shares: that moves customers at
    the edges of the arm and of those after it by name. Points differ from playbook to playbook.
    """
    point, edge = unit(f"{playbook_name}\n{customer_id}"), 0.0
    for arm in sorted(shares):
        edge += shares[arm]
        if point < edge:
            return arm, shares[arm]
    return "", 0.0
