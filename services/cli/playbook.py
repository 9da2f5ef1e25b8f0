"""``tact playbook``: finds what is wrong with a playbook, what a change would do, and puts it into use."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.cli import checking, diff, publishing, schemas


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="list every mistake with file and line")
    check.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    test = verbs.add_parser("test", help="run the cases and say what is not as expected")
    test.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    test.add_argument(
        "--mutate",
        action="store_true",
        help="delete and negate every rule in turn, and name those where no case notices",
    )
    test.add_argument(
        "--only", default="", metavar="TEXT", help="only situations and cases whose names hold TEXT"
    )
    diff.configure(verbs)
    publishing.configure(verbs)
    schemas.configure(verbs)


def run(arguments: argparse.Namespace) -> int:
    """Check or test each folder, compare two, or change what is in use; 1 if any is wrong."""
    if arguments.verb in publishing.VERBS:
        return publishing.run(arguments)
    if arguments.verb == diff.VERB:
        return diff.run(arguments)
    if arguments.verb == schemas.VERB:
        return schemas.run(arguments)
    if arguments.verb == "test":
        # The services take a second to import; checking needs none of them.
        from services.cli.cases.command import test

        return test(arguments.folders, mutate=arguments.mutate, only=arguments.only)
    return checking.check(arguments.folders)
