"""Long work on the event loop, in parts between which other calls have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

# So many items take a few milliseconds.
_ITEMS_IN_A_ROW: Final = 50

T = TypeVar("T")


async def politely(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield items in order, and let others run after every few."""
    for index, item in enumerate(items, start=1):
        yield item
        if index % _ITEMS_IN_A_ROW == 0:
            await asyncio.sleep(0)
