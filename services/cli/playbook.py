"""``tact playbook check FOLDER...``: finds what is wrong with a playbook."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import load


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="list every mistake with file and line")
    check.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")


def run(arguments: argparse.Namespace) -> int:
    """Check each folder; 1 if any is wrong."""
    wrong = 0
    for folder in arguments.folders:
        try:
            playbook = load(folder)
        except PlaybookError as error:
            wrong += 1
            for problem in error.problems:
                sys.stderr.write(f"{folder}/{problem}\n")
            continue
        sys.stdout.write(
            f"{folder}: {len(playbook.actions)} actions, {len(playbook.features)} features, "
            f"{len(playbook.rules)} rules, version {playbook.version[:12]}\n"
        )
    return 1 if wrong else 0
