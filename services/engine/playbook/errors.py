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

    A name whose end is all of ``name`` is the nearest; capital letters do not count.

    >>> did_you_mean("recncy", ["recency", "count"])
    '; did you mean "recency"?'
    >>> did_you_mean("age", ["page", "profile.age"])
    '; did you mean "profile.age"?'
    >>> did_you_mean("xyz", ["recency"])
    ''
    """
    names, plain = list(known), name.lower()
    ends = (f".{plain}", f"/{plain}")
    alike = (other for other in names if other.lower() == plain or other.lower().endswith(ends))
    nearest = sorted(alike, key=len) or _nearest(name, names) or _nearest(plain, names)
    return f'; did you mean "{nearest[0]}"?' if nearest else ""


def _nearest(name: str, names: list[str]) -> list[str]:
    return difflib.get_close_matches(name, names, n=1, cutoff=0.6)
