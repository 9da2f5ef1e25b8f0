"""Playbooks by version, wherever they may lie."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from services.cli.failure import Failure
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import load, shipped
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.store import Cause, Store, VersionRefused, is_store, store_under
from services.gateway.domain.making import Edition
from services.gateway.ports import NotRemade

_KEPT: Final = 8


class Shelf:
    """Finds editions in folders of playbooks and in stores; the last ones that were found stay loaded."""

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = places
        self._folders: dict[Path, Playbook] = {}
        self._found = lru_cache(_KEPT)(self.find)

    async def edition(self, version: str) -> Edition:
        """Return the edition of a version, as ``held`` does."""
        return self.held(version)

    def held(self, version: str) -> Edition:
        """Return the edition of a version.

        Raises:
            NotRemade: it lies nowhere, or not as it was published.
            Failure: a folder holds no playbook that can be used.
        """
        found = self._found(version)
        if isinstance(found, str):
            raise NotRemade(found)
        return found

    def find(self, version: str) -> Edition | str:
        """Return the edition, or why there is none."""
        for place in self._places:
            try:
                if (playbook := self._look(place, version)) is not None:
                    return Edition(playbook, FeatureSet(playbook))
            except VersionRefused as error:
                return str(error)
        places = ", ".join(map(str, self._places))
        return f"playbook version {version} is in none of {places}: say with --playbook where it is"

    def _look(self, place: Path, version: str) -> Playbook | None:
        if is_store(place):
            try:
                return Store(place).read(version)
            except VersionRefused as error:
                if error.cause is Cause.MISSING:
                    return None
                raise
        if (playbook := self._folders.get(place)) is None:
            playbook = self._folders[place] = _loaded(place)
        return playbook if playbook.version == version else None


def _loaded(folder: Path) -> Playbook:
    try:
        return load(folder)
    except PlaybookError as error:
        raise Failure(f"{folder} holds no playbook that can be used:\n{error}") from None


def usual_places(home: Path) -> Iterator[Path]:
    """Return where the playbooks lie that services under ``home`` use, and those that come with Tact."""
    if named := os.environ.get("TACT_PLAYBOOK"):
        yield Path(named)
    if is_store(store := store_under(home)):
        yield store
    yield from sorted(path.parent for path in shipped("").glob("*/playbook.yaml"))
