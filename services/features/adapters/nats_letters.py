"""Dead letters in NATS JetStream, taken away with the customer that they are of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from services.chassis.deadline import patience
from services.features.adapters.dead_letters import Matcher
from services.features.adapters.nats_connection import Addresses, StreamLost, delete_letters
from services.features.ports import StoreUnavailable

_SECONDS: Final = 60.0

logger = logging.getLogger("tact.features.stream")


class NatsLetters:
    """Implements ``DeadLetters``, each time on a connection of its own."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    async def erase(self, customer_ids: Sequence[str]) -> int:
        """Read all letters that there are, and delete those of the customers."""
        left = patience()
        try:
            async with asyncio.timeout(_SECONDS if left is None else left):
                deleted = await delete_letters(self._addresses, Matcher(customer_ids).are_wanted)
        except (StreamLost, TimeoutError) as error:
            cause = str(error) or "no answer in time"
            raise StoreUnavailable(f"the dead letters in NATS cannot be searched: {cause}") from None
        if deleted:
            # Whatever becomes of the rest of the erasure.
            logger.info("dead letters erased", extra={"fields": {"service": "features", "letters": deleted}})
        return deleted
