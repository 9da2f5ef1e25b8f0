"""What came of replaying a log, counted and told in short."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.json_format import MessageToDict

from services.cli.decision_log import Entry
from services.gateway.domain.replay import Difference, Replay
from services.gateway.servicer import replay_response

_MOST_GROUPS: Final = 20
_MOST_EXAMPLES: Final = 3
_MOST_FIELDS: Final = 5
_INDEX: Final = re.compile(r"\[\d+\]")
_DAMAGED: Final = "the record was altered since it was written"


@dataclass(slots=True, kw_only=True)
class Group:
    """Decisions with one and the same trouble; the ids and the differences are those of the first."""

    count: int = 0
    decision_ids: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    def add(self, decision_id: str, replay: Replay) -> None:
        """Count one more."""
        if not self.count:
            self.differences = list(replay.differences[:_MOST_FIELDS])
        if len(self.decision_ids) < _MOST_EXAMPLES:
            self.decision_ids.append(decision_id)
        self.count += 1


@dataclass(slots=True, kw_only=True)
class Tally:
    """Replays by what came of them; of the groups, more than a few are only counted."""

    decisions: int = 0
    different: int = 0
    impossible: int = 0
    damaged: int = 0
    erased: int = 0
    score_difference: float | None = None
    groups: dict[str, Group] = field(default_factory=dict)
    others: int = 0

    @property
    def identical(self) -> int:
        """Return how many came out as they did."""
        return self.decisions - self.different - self.impossible

    @property
    def is_clean(self) -> bool:
        """Tell whether all did."""
        return self.identical == self.decisions

    def add(self, decision_id: str, replay: Replay) -> None:
        """Count one replay."""
        self.decisions += 1
        if replay.score_difference is not None:
            self.score_difference = max(self.score_difference or 0.0, replay.score_difference)
        if replay.verdict == "IDENTICAL":
            return
        self.different += replay.verdict == "DIFFERENT"
        self.impossible += replay.verdict == "IMPOSSIBLE"
        self.damaged += replay.is_damaged
        trouble = _trouble(replay)
        if trouble in self.groups or len(self.groups) < _MOST_GROUPS:
            self.groups.setdefault(trouble, Group()).add(decision_id, replay)
        else:
            self.others += 1

    def summary(self) -> str:
        """Return the counts as a line of JSON."""
        counts = {
            "decisions": self.decisions,
            "identical": self.identical,
            "different": self.different,
            "impossible": self.impossible,
            "damaged": self.damaged,
            "erased": self.erased,
            "score_difference": self.score_difference,
        }
        return json.dumps(counts) + "\n"

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for trouble, group in self.groups.items():
            yield trouble
            others = group.count - len(group.decision_ids)
            yield f"  {', '.join(group.decision_ids)}" + (f" and {others} more" if others else "")
            for one in group.differences:
                before, now = one.recorded or "nothing", one.replayed or "nothing"
                yield f"    {one.field}: {before} on record, {now} now"
        if self.others:
            yield f"other trouble: {self.others}"
        if self.score_difference is not None:
            yield f"largest difference of a score: {self.score_difference:.3g}"
        gone = f", {self.erased} erased with their customers" if self.erased else ""
        yield f"{self.identical} of {self.decisions} identical{gone}"


def as_json(entry: Entry, replay: Replay) -> str:
    """Return a replay as a line of JSON."""
    told = MessageToDict(replay_response(replay), preserving_proto_field_name=True)
    about = {"decision_id": entry.decision_id, "live": entry.live}
    return json.dumps(about | told, ensure_ascii=False) + "\n"


def _trouble(replay: Replay) -> str:
    """Name what is wrong with a replay; what concerns the same field of any candidate is the same."""
    if replay.is_damaged:
        return f"different: {_DAMAGED}"
    if replay.differences:
        return f"different: {_INDEX.sub('[]', replay.differences[0].field)}"
    return f"impossible: {'; '.join(replay.missing)}"
