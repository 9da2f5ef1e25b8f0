"""A comparison as text: who gains and loses what, why, and what the figures rest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from services.cli.diff.comparison import Comparison
from services.cli.diff.figures import Figures, Moves
from services.cli.diff.notes import notes
from services.cli.diff.table import number, signed, table
from services.cli.wording import wrapped

WIDTH: Final = 110
MOST_ACTIONS: Final = 20
_MOST_FLOWS: Final = 10
_MOST_LOSSES: Final = 10
_SHOWN_MOVES: Final = 3
_NOTHING: Final = 1e-9

Segments = Mapping[str, Sequence[tuple[str, Figures]]]
"""The figures of each segment, by what decisions are divided by."""


def report(comparison: Comparison, whole: Figures, segments: Segments) -> str:
    """Write the report; the sections that have nothing to say are left out."""
    sections: list[Iterable[str]] = [
        _population(comparison, whole),
        _summary(comparison, whole),
        _moves("first action", whole.first),
        _moves("action in any rank", whole.ranked) if whole.ranked != whole.first else (),
        _flows(whole),
        _losses(whole),
        *(_segments(name, parts) for name, parts in segments.items()),
        (wrapped(line, WIDTH) for line in notes(comparison)),
    ]
    texts = ("\n".join(lines) for lines in sections)
    return "\n\n".join(filter(None, texts)) + "\n"


def _population(comparison: Comparison, whole: Figures) -> Iterator[str]:
    times = [row.time for row in comparison.rows]
    live = sum(row.live for row in comparison.rows)
    period = f"{min(times):%Y-%m-%d %H:%M} to {max(times):%Y-%m-%d %H:%M} UTC"
    yield (
        f"{number(whole.decisions)} decisions ({number(live)} live, {number(whole.decisions - live)} dry) "
        f"about {number(whole.customers)} customers, {period}"
    )
    for which, edition in (("OLD", comparison.old), ("NEW", comparison.new)):
        yield f"{which} is version {edition.playbook.version[:12]} of {edition.playbook.head.name}"
    asked = [row.agrees for row in comparison.rows if row.agrees is not None]
    if asked:
        yield f"{number(sum(asked))} of {number(len(asked))} answers of OLD equal the log"
    else:
        yield "OLD made none of these decisions, so its answers are not compared with the log"


def _summary(comparison: Comparison, whole: Figures) -> Iterator[str]:
    empty, choices, worth = whole.no_action, whole.choices, whole.worth
    currency = comparison.new.playbook.head.currency
    rows = [
        _figures("decisions without an action, %", *(100 * share for share in empty), decimals=2),
        _figures("choices left, mean", *choices, decimals=3),
        _figures(f"expected value of a decision, {currency} *", *worth, decimals=4),
    ]
    if abs(whole.worth_as_before - worth.new) > _NOTHING:
        by_old = worth.old, whole.worth_as_before
        rows.append(_figures("  by the values and costs of OLD", *by_old, decimals=4))
    yield from table(["", "OLD", "NEW", "change"], rows)
    text = (
        f"Another first action in {number(whole.changed)} decisions ({whole.changed / whole.decisions:.1%}); "
        f"the same by another treatment or at another time in {number(whole.shifted)}; the whole answer is "
        f"the same in {number(whole.unchanged)}."
    )
    yield wrapped(text, WIDTH)
    yield "* chance x value - cost, summed over the answer: an estimate, not an off-policy evaluation"


def _figures(name: str, old: float, new: float, *, decimals: int) -> list[str]:
    return [name, f"{old:,.{decimals}f}", f"{new:,.{decimals}f}", signed(new - old, decimals)]


def _moves(title: str, actions: Mapping[str, Moves]) -> Iterator[str]:
    moved = [(name, moves) for name, moves in actions.items() if moves.total]
    if not moved:
        yield f"{title}: no decision gains or loses any"
        return
    rows = [
        [name, *map(number, (one.old, one.new, one.gained, one.lost)), signed(one.new - one.old)]
        for name, one in moved[:MOST_ACTIONS]
    ]
    yield from table([title, "OLD", "NEW", "gained", "lost", "change"], rows)
    yield from _more(len(moved) - MOST_ACTIONS, "actions")


def _flows(whole: Figures) -> Iterator[str]:
    if not whole.flows:
        return
    rows = [[f"{old} -> {new}", number(count)] for (old, new), count in whole.flows[:_MOST_FLOWS]]
    yield from table(["from -> to", "decisions"], rows)
    yield from _more(len(whole.flows) - _MOST_FLOWS, "flows")


def _losses(whole: Figures) -> Iterator[str]:
    if not whole.losses:
        return
    yield "What NEW takes from the answers of OLD, in any rank, and why"
    for (stage, rule, text), count in whole.losses[:_MOST_LOSSES]:
        yield wrapped(f"{number(count):>8}  {stage}, {rule}: {text}", WIDTH)
    yield from _more(len(whole.losses) - _MOST_LOSSES, "reasons")


def _segments(name: str, parts: Sequence[tuple[str, Figures]]) -> Iterator[str]:
    heads = [name, "decisions", "no action %", "NEW", "choices", "NEW", "changed", "largest changes"]
    rows = []
    for label, part in parts:
        empty = [f"{100 * share:.1f}" for share in part.no_action]
        choices = [f"{mean:.2f}" for mean in part.choices]
        rows.append([label, number(part.decisions), *empty, *choices, number(part.changed), _largest(part)])
    yield from table(heads, rows, words=(0, len(heads) - 1))


def _largest(part: Figures) -> str:
    net = {name: moves.new - moves.old for name, moves in part.first.items()}
    moved = sorted((name for name in net if net[name]), key=lambda name: (-abs(net[name]), name))
    return ", ".join(f"{name} {signed(net[name])}" for name in moved[:_SHOWN_MOVES])


def _more(count: int, what: str) -> Iterator[str]:
    if count > 0:
        yield f"and {number(count)} more {what}: --json FILE has them all"
