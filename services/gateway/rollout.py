"""Takes another playbook into use without a decision noticing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.chassis.editions import Editions
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.playbook import Playbook
from services.gateway.domain.knowledge import Unavailable
from services.gateway.domain.timing import DEFAULT_SECONDS
from services.gateway.handlers import DecideHandler
from services.gateway.ports import FeatureReader

_PAUSE_SECONDS: Final = 0.1

logger: Final = logging.getLogger("tact.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Decides by the edition before until features computes by the new one, but not for ever.

    ``make`` prepares an edition, off the event loop; ``observe`` sees what is in use from now on.
    """

    editions: Editions[DecideHandler]
    make: Callable[[Playbook], DecideHandler]
    observe: Callable[[Playbook], None]
    patience_seconds: float

    async def take(self, playbook: Playbook) -> None:
        """Decide by another playbook from the next request on."""
        decide = await asyncio.to_thread(self.make, playbook)
        try:
            await decide.propensities.model.refresh(DEFAULT_SECONDS)
        except Unavailable as error:
            _warn("scoring does not serve the playbook", playbook, error)
        await self._wait_for(decide.resolver.features, playbook)
        self.editions.take(playbook.version, decide)
        self.observe(playbook)

    async def _wait_for(self, features: FeatureReader, playbook: Playbook) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + self.patience_seconds
        while True:
            try:
                return await features.reach(min(self.patience_seconds, DEFAULT_SECONDS))
            except Unavailable as error:
                if clock() >= until:
                    # A rule that was published binds, though the numbers are late.
                    return _warn("features does not serve the playbook", playbook, error)
            await asyncio.sleep(_PAUSE_SECONDS)


def are_the_same(before: DecideHandler, playbook: Playbook, features: FeatureSet) -> bool:
    """Tell whether what was read of features before says the same by another playbook.

    Features of candidates rest on the catalogue as well.
    """
    layout = before.feature_set.served_fingerprint
    return layout == features.served_fingerprint and before.playbook.catalogue == playbook.catalogue


def _warn(text: str, playbook: Playbook, error: Unavailable) -> None:
    about = {"version": playbook.version, "cause": error.cause.name.lower(), "detail": error.detail}
    logger.warning(text, extra={"fields": about})
