"""What decisions are divided by: values of the customer or the moment, or ranges of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from services.cli.failure import Failure
from services.engine.playbook.errors import did_you_mean
from services.engine.playbook.formulas import FEATURE
from services.engine.playbook.playbook import Playbook
from services.gateway.domain.decision import Decision

ARM: Final = "control_arm"
MOST: Final = 12
"""Numbers with more different values are divided into ten ranges; of more words the most frequent stay."""
_RANGES: Final = 10
_PREFIXES: Final = ("profile", "context", "feature", "actor", "time")


def check(name: str, playbooks: Sequence[Playbook]) -> None:
    """Check that decisions can be divided by a variable of one of the playbooks.

    Raises:
        Failure: no playbook has it, it is never logged, differs from action to action or is an instant.
    """
    if name == ARM:
        return
    known = {
        variable
        for playbook in playbooks
        for variable in playbook.environment.variables
        if variable.startswith(tuple(f"{prefix}." for prefix in _PREFIXES))
    }
    if name not in known:
        suggestion = did_you_mean(name, [*known, ARM])
        raise Failure(f'--by {name}: neither playbook knows it, nor is it "{ARM}"{suggestion}')
    if any(name in playbook.borrowed for playbook in playbooks):
        raise Failure(f"--by {name}: it is borrowed, so no log holds it")
    if any(name.removeprefix(FEATURE) in playbook.candidate_features for playbook in playbooks):
        raise Failure(f"--by {name}: it differs from action to action")
    if name == "time.now" or any(_is_instant(name, playbook) for playbook in playbooks):
        raise Failure(f"--by {name}: it is an instant")


def value(name: str, decisions: Sequence[Decision | None]) -> object:
    """Return what a decision on record is put under, by the first that knows; None where it is missing."""
    for decision in decisions:
        if decision is None or decision.situation is None:
            continue
        if name == ARM:
            return decision.arm or "none"
        if (found := decision.situation.values.get(name)) is not None:
            return found
    return None


def divide(values: Sequence[object]) -> Iterator[tuple[str, list[int]]]:
    """Yield each segment with the places of its values, in order; what is missing comes last.

    Numbers of many different values are divided into ranges of about a tenth of them each, equal ones
    together. Of too many words, the rarer are one segment.
    """
    there = [place for place, one in enumerate(values) if one is not None]
    distinct = {values[place] for place in there}
    if len(distinct) > MOST and all(_is_number(one) for one in distinct):
        yield from _ranges(values, there)
    else:
        yield from _words(values, there)
    if missing := [place for place, one in enumerate(values) if one is None]:
        yield "(missing)", missing


def _ranges(values: Sequence[object], there: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    numbers = np.array([values[place] for place in there], dtype=np.float64)
    edges = np.unique(np.quantile(numbers, np.arange(1, _RANGES) / _RANGES, method="lower"))
    which = np.searchsorted(edges, numbers, side="left")
    for one in np.unique(which):
        inside = numbers[which == one]
        places = [place for place, its in zip(there, which, strict=True) if its == one]
        least, most = f"{inside.min():g}", f"{inside.max():g}"
        yield least if least == most else f"{least} to {most}", places


def _words(values: Sequence[object], there: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    counts = Counter(values[place] for place in there)
    kept = {one for one, _ in sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:MOST]}
    for one in sorted(kept, key=lambda one: (one, "") if _is_number(one) else (0.0, _word(one))):
        yield _word(one), [place for place in there if values[place] == one]
    if others := [place for place in there if values[place] not in kept]:
        yield f"({len(counts) - len(kept)} others)", others


def _is_number(one: object) -> bool:
    return isinstance(one, int | float) and not isinstance(one, bool)


def _is_instant(name: str, playbook: Playbook) -> bool:
    prefix, _, short = name.partition(".")
    attributes = {"profile": playbook.profile.attributes, "context": playbook.head.context}
    declared = attributes.get(prefix, {}).get(short)
    return declared is not None and declared.type == "timestamp"


def _word(one: object) -> str:
    if isinstance(one, bool):
        return "yes" if one else "no"
    return f"{one:g}" if isinstance(one, float) else str(one)
