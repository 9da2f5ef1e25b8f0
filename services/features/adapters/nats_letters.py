"""Dead letters in NATS JetStream, taken away with the customer that they are of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from services.chassis.deadline import patience
from services.features.adapters.dead_letters import concerns
from services.features.adapters.nats_connection import Addresses, StreamLost, delete_letters
from services.features.ports import StoreUnavailable


class NatsLetters:
    """Implements ``DeadLetters``, each time on a connection of its own."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    async def erase(self, customer_ids: Sequence[str]) -> int:
        """Read all letters that there are, and delete those of the customers."""
        try:
            async with asyncio.timeout(patience()):
                return await delete_letters(
                    self._addresses, partial(concerns, customer_ids=frozenset(customer_ids))
                )
        except (StreamLost, TimeoutError) as error:
            cause = str(error) or "no answer in time"
            raise StoreUnavailable(f"the dead letters in NATS cannot be searched: {cause}") from None
