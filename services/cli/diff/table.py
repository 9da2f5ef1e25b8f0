"""Tables of plain text: words to the left, figures to the right."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

_WIDEST_NAME = 44
_LEAST_FIGURE = 8


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[int] = (0,)
) -> Iterator[str]:
    """Yield the lines of a table; ``words`` are the columns that hold no figures.

    >>> print(*table(["action", "OLD", "change"], [["sale", "12", "+3"]]), sep="\\n")
    action       OLD    change
    sale          12        +3
    """
    cells = [list(heads), *([_short(row[0]), *row[1:]] for row in rows)]
    widths = [
        max(0 if place in words else _LEAST_FIGURE, *(len(row[place]) for row in cells))
        for place in range(len(heads))
    ]
    for row in cells:
        padded = (
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(padded).rstrip()


def number(amount: float) -> str:
    """Write a count.

    >>> number(12_345)
    '12,345'
    """
    return f"{amount:,.0f}"


def signed(amount: float, decimals: int = 0) -> str:
    """Write a change; nothing changed is 0 without a sign.

    >>> signed(3), signed(-1234.5, 1), signed(-0.0001, 2)
    ('+3', '-1,234.5', '0.00')
    """
    text = f"{amount:+,.{decimals}f}"
    return text if text.strip("+-0.,") else text[1:]


def _short(word: str) -> str:
    return word if len(word) <= _WIDEST_NAME else f"{word[: _WIDEST_NAME - 3]}..."
