"""A folder of playbook versions, one of which is current; what is in it never changes."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from pathlib import Path
from typing import Final

from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import load, shipped
from services.engine.playbook.playbook import Playbook

_VERSION: Final = re.compile(r"[0-9a-f]{64}")
_FOLDER: Final = "playbooks"


class Cause(StrEnum):
    """Why a version is refused."""

    UNREADABLE = auto()
    MISSING = auto()
    INVALID = auto()
    ALTERED = auto()


class VersionRefused(ValueError):
    """The store has no such version, or not as it was published."""

    def __init__(self, cause: Cause, text: str) -> None:
        super().__init__(text)
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change of what is current; ``who`` is empty where nobody said."""

    time: datetime
    version: str
    verb: str
    who: str


class Store:
    """Reads a store.

    ``versions/`` has a folder for each version, named by it; ``current`` names the one in use and is
    only ever replaced whole; ``history`` has a line for each change.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last: Playbook | None = None
        self._lock = threading.Lock()

    def newest(self) -> str | None:
        """Return the version that is current, None where nothing was published yet.

        Raises:
            VersionRefused: ``current`` cannot be read or names no version.
        """
        path = self.folder / "current"
        try:
            version = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise VersionRefused(Cause.UNREADABLE, f"{path} cannot be read: {error}") from None
        if not _VERSION.fullmatch(version):
            raise VersionRefused(Cause.UNREADABLE, f"{path} names no version")
        return version

    def load(self, version: str) -> Playbook:
        """Load a version as ``read`` does, or return the one that was loaded last.

        Whoever follows the same store in one process shares what is loaded.
        """
        with self._lock:
            if self._last is None or self._last.version != version:
                self._last = self.read(version)
            return self._last

    def read(self, version: str) -> Playbook:
        """Load a version from its files.

        Raises:
            VersionRefused: it is not there, does not load, or does not say what was published.
        """
        folder = self.folder_of(version)
        if not (_VERSION.fullmatch(version) and folder.is_dir()):
            raise VersionRefused(Cause.MISSING, f"{self.folder} holds no version {version:.64}")
        try:
            playbook = load(folder)
        except PlaybookError as error:
            raise VersionRefused(Cause.INVALID, f"{folder} does not load:\n{error}") from None
        if playbook.version != version:
            text = f"{folder} is not as it was published, or was by another release of Tact: "
            text += f"it says version {playbook.version}"
            raise VersionRefused(Cause.ALTERED, text)
        return playbook

    def folder_of(self, version: str) -> Path:
        """Return the folder of a version, whether it is there or not."""
        return self.folder / "versions" / version

    def versions(self) -> list[str]:
        """Return every version that the store has a folder for."""
        folder = self.folder / "versions"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def history(self) -> list[Entry]:
        """Return every change, oldest first; a line that is none is left out."""
        try:
            text = (self.folder / "history").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return [entry for line in text.splitlines() if (entry := _entry(line)) is not None]


def is_store(folder: Path) -> bool:
    """Tell a store from the folder of one playbook, or from nothing at all."""
    return (folder / "versions").is_dir()


def store_under(home: Path) -> Path:
    """Return the folder of the store that is used where none is named."""
    return home / _FOLDER


def opened(setting: Path | None, home: Path) -> tuple[Playbook, Store | None]:
    """Load the playbook to begin with; return the store to follow as well, None where it stays.

    A ``setting`` that names the folder of a playbook means this one for good. Without a setting the
    store under ``home`` is followed, and until something is published there the shipped playbook is
    used. Where what is current is refused, what was current last begins, as it stays elsewhere.

    Raises:
        PlaybookError: the playbook cannot be used.
        VersionRefused: nothing is current, or nothing that was is as it was published.
    """
    if setting is not None and not is_store(setting):
        return load(setting), None
    store = Store(setting or store_under(home))
    if (playbook := _first(store)) is not None:
        return playbook, store
    if setting is not None:
        raise VersionRefused(Cause.MISSING, f"nothing is published in {setting} yet")
    return load(shipped("retail")), store


def _first(store: Store) -> Playbook | None:
    try:
        version = store.newest()
        return None if version is None else store.load(version)
    except VersionRefused:
        for entry in reversed(store.history()):
            with suppress(VersionRefused):
                return store.load(entry.version)
        raise


def _entry(line: str) -> Entry | None:
    words = line.split()
    try:
        time, version, verb, who = words
        return Entry(
            time=datetime.fromisoformat(time), version=version, verb=verb, who="" if who == "-" else who
        )
    except ValueError:
        return None
