"""What can be said of a playbook that loads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from services.engine.playbook.rules import CompiledRule
from services.engine.playbook.source import Path

_NOUNS: Final = {
    "suppression": "suppression",
    "quiet_hours": "quiet hours",
    "preferred_hours": "preferred hours",
    "weights": "weight",
    "promises": "promise",
    "levers": "lever",
    "caps": "cap",
    "cool_downs": "cool-down",
    "repeat_costs": "repeat cost",
    "precedence": "precedence",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something to know: a problem where it cannot be meant, else a note.

    ``path`` leads to it inside ``file``; ``word`` is what it is about in a text of several lines.
    """

    file: str
    path: Path
    message: str
    is_problem: bool = False
    word: str = ""


def named(rule: CompiledRule) -> str:
    """Name a statement, as ``rule "adult"``."""
    if rule.section == "stop":
        return f'"{rule.rule.name}" of {rule.scope.actions[0]}'
    return f'{_NOUNS.get(rule.section, "rule")} "{rule.rule.name}"'


def listed(names: Collection[str], most: int = 5) -> str:
    """Write names one after the other, at most so many.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
