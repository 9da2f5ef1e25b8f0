"""The playbooks that decisions on record were made by."""

from __future__ import annotations

import asyncio
from functools import lru_cache

from services.chassis.editions import KEPT, Editions
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.store import Store, VersionRefused
from services.gateway.domain.making import Edition
from services.gateway.handlers import DecideHandler


class Library:
    """Finds an edition among the last ones in use, else in the store, where there is one."""

    def __init__(self, editions: Editions[DecideHandler], playbooks: Store | None) -> None:
        self._editions = editions
        self._playbooks = playbooks
        self._archived = lru_cache(KEPT)(_archived)

    async def edition(self, version: str) -> Edition | None:
        """Return the edition of a version, None where it cannot be had."""
        if (held := self._editions.get(version)) is not None:
            return Edition(held.playbook, held.feature_set)
        if self._playbooks is None:
            return None
        try:
            return await asyncio.to_thread(self._archived, self._playbooks, version)
        except VersionRefused:
            return None


def _archived(playbooks: Store, version: str) -> Edition:
    playbook = playbooks.read(version)
    return Edition(playbook, FeatureSet(playbook))
