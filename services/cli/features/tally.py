"""What came of recomputing features, counted and told in short."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from services.cli.features.parity import Compared, Difference

_MOST_FEATURES: Final = 20


@dataclass(slots=True, kw_only=True)
class Tally:
    """Decisions by what came of them, and of each feature that differs how often and where first."""

    decisions: int = 0
    compared: int = 0
    numbers: int = 0
    different: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[str, Difference]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Tell whether something was compared, and all of it is equal."""
        return self.compared > 0 and not self.different

    def add(self, compared: Compared) -> None:
        """Count one decision."""
        self.decisions += 1
        if compared.skipped:
            self.skipped[compared.skipped] += 1
            return
        self.compared += 1
        self.numbers += compared.numbers
        self.different += bool(compared.differences)
        for one in compared.differences:
            self.counts[one.feature] += 1
            self.first.setdefault(one.feature, (compared.decision_id, one))

    def summary(self) -> str:
        """Return the counts as a line of JSON."""
        counts = {
            "decisions": self.decisions,
            "compared": self.compared,
            "numbers": self.numbers,
            "different": self.different,
            "features": dict(self.counts.most_common()),
            "skipped": dict(self.skipped.most_common()),
        }
        return json.dumps(counts, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for reason, count in self.skipped.most_common():
            yield f"not compared, {count}: {reason}"
        for name, count in self.counts.most_common(_MOST_FEATURES):
            decision_id, one = self.first[name]
            about = f" of {one.action_id}" if one.action_id else ""
            yield f"{name}: {count} different, first in {decision_id}{about}"
            yield f"    {one.served!r} served, {one.recomputed!r} recomputed"
        if (others := len(self.counts) - _MOST_FEATURES) > 0:
            yield f"{others} other features differ"
        equal = self.compared - self.different
        yield f"{equal} of {self.compared} decisions equal, {self.numbers} numbers compared"
