"""Tables and figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Write a table line by line."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def shown(values: Mapping[str, float]) -> str:
    """Write a median with the least and the most."""
    return f"{short(values['median'])} ({short(values['least'])} to {short(values['most'])})"


def short(value: float) -> str:
    """Write three digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
