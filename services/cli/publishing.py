"""``tact playbook publish | rollback | versions``: changes which version of a playbook is in use."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from services.cli.checking import problems_of
from services.cli.failure import Failure
from services.engine.playbook import publishing
from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.publishing import Change
from services.engine.playbook.store import Store, VersionRefused, is_store, store_under

VERBS: Final = ("publish", "rollback", "versions")
_STORE: Final = (
    "the store; where left out, TACT_PLAYBOOK unless a playbook lies there, else TACT_HOME/playbooks"
)


def configure(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the arguments of each verb."""
    publish = verbs.add_parser("publish", help="put a playbook into use, in every service that follows")
    publish.add_argument("folder", type=Path, metavar="FOLDER")
    publish.add_argument("--to", type=Path, dest="store", metavar="STORE", help=_STORE)
    rollback = verbs.add_parser("rollback", help="put the version before, or a given one, back into use")
    rollback.add_argument("version", nargs="?", metavar="VERSION", help="the version, or how it alone begins")
    rollback.add_argument("--in", type=Path, dest="store", metavar="STORE", help=_STORE)
    versions = verbs.add_parser("versions", help="list what was published, the last change first")
    versions.add_argument("store", type=Path, nargs="?", metavar="STORE", help=_STORE)


def run(arguments: argparse.Namespace) -> int:
    """Publish, roll back or list; 1 where the playbook is refused.

    Raises:
        Failure: the store cannot be used as asked.
    """
    store = Store(arguments.store or default_store())
    try:
        if arguments.verb == "versions":
            return _list(store)
        if arguments.verb == "publish":
            return _publish(store, arguments.folder)
        change = publishing.rollback(store, arguments.version, datetime.now(UTC), _who())
    except VersionRefused as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{store.folder} cannot be used: {error}") from None
    return _tell(store, change)


def _publish(store: Store, folder: Path) -> int:
    now = datetime.now(UTC)
    try:
        if problems := problems_of(folder, now):
            raise PlaybookError(problems)
        change = publishing.publish(store, folder, now, _who())
    except PlaybookError as error:
        for problem in error.problems:
            sys.stderr.write(f"{folder}/{problem}\n")
        return 1
    return _tell(store, change)


def _tell(store: Store, change: Change) -> int:
    if change.version == change.before:
        sys.stdout.write(f"{store.folder}: version {change.version[:12]} is current already\n")
        return 0
    before = change.before[:12] if change.before else "none"
    sys.stdout.write(f"{store.folder}: version {change.version[:12]} is current; before: {before}\n")
    fixed = os.environ.get("TACT_PLAYBOOK")
    if fixed and Path(fixed).resolve() != store.folder.resolve():
        sys.stderr.write(f"services started with TACT_PLAYBOOK={fixed} do not follow this store\n")
    return 0


def _list(store: Store) -> int:
    if not is_store(store.folder):
        raise Failure(f"{store.folder} is no store of playbooks")
    current, listed = store.newest(), set[str]()
    for entry in reversed(store.history()):
        if entry.version not in listed:
            mark, when = "*" if entry.version == current else " ", f"{entry.time:%Y-%m-%d %H:%M:%S}"
            sys.stdout.write(f"{mark} {entry.version}  {when} UTC  {entry.verb} {entry.who}".rstrip() + "\n")
            listed.add(entry.version)
    return 0


def default_store() -> Path:
    """Return the folder that TACT_PLAYBOOK names unless a playbook itself lies there, else TACT_HOME's."""
    named = Path(os.environ.get("TACT_PLAYBOOK") or "")
    if named.name and not (named / "playbook.yaml").exists():
        return named
    return store_under(Path(os.environ.get("TACT_HOME", ".tact")))


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user need not have a name.
        return ""
