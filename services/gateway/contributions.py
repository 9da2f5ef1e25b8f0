"""Asks the model what each feature contributed to its scores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.gateway.domain.contributions import weighed
from services.gateway.domain.knowledge import Unavailable
from services.gateway.ports import Scorer, Shown, Story
from services.gateway.resolver import Remaining

MOST_ROWS: Final = 1_000
"""So many candidates ``ExplainScores`` takes in one call."""
_DEFAULT_SECONDS: Final = 10.0
_SHARE: Final = 0.8
_ROWS_IN_A_ROW: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributions:
    """Adds to a story what made its scores; ``pause`` lets others have their turn."""

    scorer: Scorer
    pause: Callable[[], Awaitable[None]]

    async def tell(self, story: Story, remaining: Remaining) -> str:
        """Add the contributions to every score of a story; return why there are none, else nothing.

        Only the model that made the scores is asked, and it is sent only what it was shown then.
        """
        if (shown := story.shown) is None:
            return "No model scored this decision."
        if len(shown.rows) > MOST_ROWS:
            return f"{len(shown.rows)} actions were scored, more than the {MOST_ROWS} explained at once."
        try:
            return await self._tell(story, shown, remaining)
        except Unavailable as error:
            return f"Scoring did not help: {error.detail}."

    async def _tell(self, story: Story, shown: Shown, remaining: Remaining) -> str:
        model = await self.scorer.describe(_seconds(remaining))
        if model.version != shown.model_version:
            return f"The scores are of model {shown.model_version}; scoring serves {model.version} by now."
        if model.fingerprint != shown.fingerprint:
            return f"The scores are of model {shown.model_version} in another layout than that of today."
        rows = np.array(list(shown.rows.values()), dtype=np.float64)
        amounts = await self.scorer.contributions(model, shown.customer, rows, _seconds(remaining))
        for number, (action_id, row) in enumerate(shown.rows.items()):
            story.contribute(action_id, weighed(model, shown.customer, row, amounts[number]))
            if number % _ROWS_IN_A_ROW == 0:
                await self.pause()
        return ""


def _seconds(remaining: Remaining) -> float:
    left = remaining()
    return _DEFAULT_SECONDS if left is None else left * _SHARE
