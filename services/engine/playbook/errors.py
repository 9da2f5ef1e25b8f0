"""What is wrong with a playbook, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One defect of a playbook; ``line`` counts from 1, ``file`` is relative to the playbook."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class PlaybookError(ValueError):
    """A playbook cannot be used; ``problems`` lists every defect found, by file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest of ``known``, as the end of a sentence, or nothing.

    >>> did_you_mean("recncy", ["recency", "count"])
    '; did you mean "recency"?'
    >>> did_you_mean("xyz", ["recency"])
    ''
    """
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{nearest[0]}"?' if nearest else ""
