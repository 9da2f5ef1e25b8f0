"""Puts versions into a store and makes one of them current; a crash at any moment leaves one whole."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.engine.playbook.loader import FILES, load
from services.engine.playbook.store import Cause, Store, VersionRefused, is_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is current, and what was; ``before`` is None where nothing was that can be named."""

    version: str
    before: str | None


def publish(store: Store, folder: Path, now: datetime, who: str = "") -> Change:
    """Make the playbook in ``folder`` current; where it is already, nothing changes.

    A version that the store has, but not as it was published, is replaced.

    Raises:
        PlaybookError: the playbook cannot be used; the store is as before.
    """
    load(folder)
    (store.folder / "versions").mkdir(parents=True, exist_ok=True)
    with _alone(store):
        incoming = store.folder / "incoming"
        # What lies there is of somebody who died.
        shutil.rmtree(incoming, ignore_errors=True)
        _copy(folder, incoming)
        version = load(incoming).version
        if not _holds(store, version):
            shutil.rmtree(store.folder_of(version), ignore_errors=True)
            incoming.rename(store.folder_of(version))
            _sync(store.folder / "versions")
        shutil.rmtree(incoming, ignore_errors=True)
        return _point(store, version, "publish", now, who)


def rollback(store: Store, prefix: str | None, now: datetime, who: str = "") -> Change:
    """Make current what was before, or the one version that begins with ``prefix``.

    Each rollback without a prefix goes one step further back.

    Raises:
        VersionRefused: there is no such version, or it is not as it was published.
    """
    if not is_store(store.folder):
        raise VersionRefused(Cause.MISSING, f"{store.folder} is no store of playbooks")
    with _alone(store):
        version = _previous(store) if prefix is None else named(store, prefix)
        store.read(version)
        return _point(store, version, "rollback", now, who)


def named(store: Store, prefix: str) -> str:
    """Return the one version that begins with ``prefix``.

    Raises:
        VersionRefused: none or several do.
    """
    found = [version for version in store.versions() if version.startswith(prefix)]
    if len(found) != 1:
        shown = ", ".join(version[:12] for version in found or store.versions())
        text = f"{len(found)} versions begin with {prefix!r}; " + ("there are" if not found else "they are")
        raise VersionRefused(Cause.MISSING, f"{text}: {shown or 'none'}")
    return found[0]


def _point(store: Store, version: str, verb: str, now: datetime, who: str) -> Change:
    """Make a version current, and write it down before: nothing is ever in use that nobody noted."""
    before = _current(store)
    if version != before:
        path, history = store.folder / "history", store.history()
        lines = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        lines += "" if lines.endswith("\n") or not lines else "\n"
        if before and history and history[-1].version != before:
            # Whoever wrote the last line died before it came true.
            lines += _line(now, before, "kept", "")
        _replace(path, lines + _line(now, version, verb, who))
        _replace(store.folder / "current", f"{version}\n")
    return Change(version=version, before=before)


def _current(store: Store) -> str | None:
    try:
        return store.newest()
    except VersionRefused:
        return None


def _previous(store: Store) -> str:
    trail: list[str] = []
    for entry in store.history():
        if entry.verb != "publish":
            _back(trail, entry.version)
        elif trail[-1:] != [entry.version]:
            trail.append(entry.version)
    if current := _current(store):
        _back(trail, current)
    if len(trail) < 2:
        raise VersionRefused(Cause.MISSING, f"{store.folder} has had nothing before what is current")
    return trail[-2]


def _back(trail: list[str], version: str) -> None:
    while version in trail[:-1] and trail[-1] != version:
        trail.pop()
    if trail[-1:] != [version]:
        trail.append(version)


def _holds(store: Store, version: str) -> bool:
    try:
        store.read(version)
    except VersionRefused:
        return False
    return True


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Wait until nobody else changes the store; the system lets go when the process dies."""
    with open(store.folder / "lock", "a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _copy(folder: Path, target: Path) -> None:
    target.mkdir()
    for name in FILES:
        _write(target / name, (folder / name).read_bytes())
    _sync(target)


def _replace(path: Path, text: str) -> None:
    whole = path.with_name(f"{path.name}.new")
    _write(whole, text.encode())
    whole.replace(path)
    _sync(path.parent)


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(now: datetime, version: str, verb: str, who: str) -> str:
    time = now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{time} {version} {verb} {'_'.join(who.split()) or '-'}\n"
