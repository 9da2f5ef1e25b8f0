"""The playbooks that are compared, and those that decisions on record were made by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tact.log.v1 import decision_record_pb2 as log_pb

from services.cli.failure import Failure
from services.cli.shelf import Shelf
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import load
from services.engine.playbook.publishing import named
from services.engine.playbook.store import Store, VersionRefused
from services.gateway.domain.making import Edition

PUBLISHED: Final = "published"


def open_edition(given: str, store: Store) -> Edition:
    """Load the playbook of a folder, a version or how it alone begins, or what is ``published``.

    Raises:
        Failure: there is no such playbook, or it cannot be used.
    """
    folder = Path(given)
    try:
        playbook = load(folder) if folder.is_dir() else store.read(_version(given, store))
    except PlaybookError as error:
        raise Failure("\n".join(f"{folder}/{problem}" for problem in error.problems)) from None
    except VersionRefused as error:
        raise Failure(f"{given} is no folder of a playbook, and no version: {error}") from None
    return Edition(playbook, FeatureSet(playbook))


def _version(given: str, store: Store) -> str:
    if given != PUBLISHED:
        return named(store, given)
    if (version := store.newest()) is None:
        raise Failure(f"nothing is published in {store.folder} yet")
    return version


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What made a record: the playbook as far as it is at hand, and how its features are laid out.

    Where ``is_exact`` is false another playbook stands in for it. ``layout`` is None where nothing at
    hand has the layout of its vectors.
    """

    edition: Edition
    is_exact: bool
    layout: FeatureSet | None

    @property
    def key(self) -> tuple[str, str]:
        """Return what origins are told apart by."""
        return self.edition.playbook.version, "" if self.layout is None else self.layout.served_fingerprint


class Archive:
    """Finds the origin of records among the playbooks compared and those on a shelf."""

    def __init__(self, old: Edition, new: Edition, shelf: Shelf) -> None:
        self._old, self._new, self._shelf = old, new, shelf
        self._origins: dict[tuple[str, str], Origin] = {}

    def origin(self, record: log_pb.DecisionRecord) -> Origin:
        """Return the origin of a record."""
        key = (record.response.playbook_version, record.feature_fingerprint)
        if (found := self._origins.get(key)) is None:
            found = self._origins[key] = self._find(*key)
        return found

    def _find(self, version: str, fingerprint: str) -> Origin:
        near = [edition for edition in (self._old, self._new) if edition.playbook.version == version]
        exact = near[0] if near else self._shelf.find(version)
        edition = self._old if isinstance(exact, str) else exact
        # A record without features has none that would be laid out otherwise.
        layout: FeatureSet | None = edition.feature_set
        if fingerprint:
            sets = [each.feature_set for each in (edition, self._old, self._new)]
            layout = next((each for each in sets if each.served_fingerprint == fingerprint), None)
        return Origin(edition=edition, is_exact=not isinstance(exact, str), layout=layout)
