"""What to know before trusting a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from services.cli.diff.chances import Source
from services.cli.diff.comparison import Comparison, Tally
from services.cli.diff.table import number

_SHOWN_IDS: Final = 3
_MOST_NAMES: Final = 20


def notes(comparison: Comparison) -> Iterator[str]:
    """Yield one line for each thing, what casts most doubt first."""
    old, new = (side.playbook.head.currency for side in (comparison.old, comparison.new))
    if old != new:
        yield f"OLD counts in {old} and NEW in {new}: what they are worth cannot be compared."
    unlike = [row.decision_id for row in comparison.rows if row.agrees is False]
    if unlike and not comparison.is_simulated:
        yield f"OLD answers otherwise than the log in {_ids(unlike)}: this version of Tact decides otherwise."
    if comparison.damaged:
        yield f"Left out, because the record is damaged: {_ids(comparison.damaged)}"
    if comparison.refused:
        yield f"Left out, because the request breaks the contract by now: {_ids(comparison.refused)}"
    for version, count in sorted(comparison.foreign.items()):
        yield (
            f"{number(count)} decisions were made by version {version[:12]}, which is not at hand: it is "
            "taken to have declared what OLD declares."
        )
    if comparison.is_simulated:
        yield (
            "Contacts are simulated over time, by each playbook for itself: what is answered is taken to be "
            "delivered at its earliest time, on inbound channels to be viewed at once. What the log reports "
            "of an action counts where the playbook had offered it, too."
        )
    if comparison.is_simulated and len({row.live for row in comparison.rows}) > 1:
        yield "Dry runs contact nobody about whom there are live decisions."
    for which, tally in (("OLD", comparison.by_old), ("NEW", comparison.by_new)):
        yield from _scores(which, tally)
        yield from _lacks(which, tally)


def _scores(which: str, tally: Tally) -> Iterator[str]:
    counts = [(source, tally.sources[source]) for source in Source if tally.sources[source]]
    if not counts:
        return
    yield f"Candidates of {which} were scored"
    yield from (f"{number(count):>10}  by {source}" for source, count in counts)


def _lacks(which: str, tally: Tally) -> Iterator[str]:
    if not tally.lacks:
        return
    yield f"{which} reads what the log does not hold; it is missing there"
    ordered = sorted(tally.lacks.items(), key=lambda one: (-one[1], one[0]))
    for (name, reason), count in ordered[:_MOST_NAMES]:
        yield f"{number(count):>10}  decisions without {name}: {reason}"
    if (rest := len(ordered) - _MOST_NAMES) > 0:
        yield f"and {number(rest)} more names: --json FILE has them all"


def _ids(ids: Sequence[str]) -> str:
    shown = ", ".join(sorted(ids)[:_SHOWN_IDS])
    count = f"{number(len(ids))} decision{'s' if len(ids) > 1 else ''}"
    return f"{count} ({shown}{', ...' if len(ids) > _SHOWN_IDS else ''})"
