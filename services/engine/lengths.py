"""Lengths of time as people write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

_SECOND: Final = timedelta(seconds=1)
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_FEW: Final = 10
"""Below so many of a unit, the next smaller one is told too."""


def exact(length: timedelta) -> str:
    """Write a positive length of whole seconds in the largest unit that leaves no rest.

    >>> exact(timedelta(hours=2)), exact(timedelta(minutes=90)), exact(timedelta(days=1, hours=12))
    ('2 h', '90 min', '36 h')
    """
    seconds = length // _SECOND
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size} {unit}"


def rounded(length: timedelta) -> str:
    """Write a length that is not negative in its largest unit, rounded down; of a few, with the next one.

    >>> [rounded(timedelta(seconds=one)) for one in (0, 59, 100, 1_320, 5_400, 36_000, 90_000)]
    ['0 s', '59 s', '1 min 40 s', '22 min', '1 h 30 min', '10 h', '1 d 1 h']
    """
    seconds = length // _SECOND
    place = next((place for place, (size, _) in enumerate(_UNITS) if seconds >= size), len(_UNITS) - 1)
    size, unit = _UNITS[place]
    count, rest = divmod(seconds, size)
    text = f"{count} {unit}"
    if count >= _FEW or place + 1 == len(_UNITS):
        return text
    smaller, its_unit = _UNITS[place + 1]
    return f"{text} {rest // smaller} {its_unit}" if rest >= smaller else text
