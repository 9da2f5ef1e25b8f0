"""Numbers that are random to the world and the same at every replay."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256


def unit(text: str) -> float:
    """Return a number in [0, 1) made of the text: the first 53 bits of its SHA-256."""
    return (int.from_bytes(sha256(text.encode()).digest()[:7]) >> 3) / 2**53


def draw_of(decision_id: str) -> Callable[[int], float]:
    r"""Return the draws of a decision, one for each rank: ``unit`` of ``"{decision_id}\n{rank}"``."""
    return lambda rank: unit(f"{decision_id}\n{rank}")
