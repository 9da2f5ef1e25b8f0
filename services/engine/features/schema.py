"""The identity of a vector's layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable


def fingerprint(features: Iterable[tuple[str, str, bool]]) -> str:
    """Identify an ordered layout of (name, definition hash, is candidate) in 16 hex digits.

    >>> fingerprint([("orders_30d", "ab12", False)])
    '90eabc273eab98ae'
    """
    text = json.dumps([list(feature) for feature in features], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
