"""``tact promises report``: how many response-time promises were kept, by the events on file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from services.cli.failure import Failure
from services.cli.moments import moment
from services.engine.instants import microseconds


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    report = verbs.add_parser("report", help="how many were kept, and how long closing took")
    report.add_argument(
        "--home",
        type=Path,
        metavar="FOLDER",
        help="where features.sqlite and profile.sqlite lie; by default what services would use here",
    )
    report.add_argument(
        "--playbook",
        type=Path,
        metavar="FOLDER",
        help="whose promises; by default TACT_PLAYBOOK, else what is in use under the home",
    )
    report.add_argument("--since", type=moment, metavar="TIME", help="only what was opened from then on")
    report.add_argument(
        "--until", type=moment, metavar="TIME", help="what was known at that time; by default now"
    )
    report.add_argument("--json", action="store_true", help="print all figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the report.

    Raises:
        Failure: the playbook promises nothing, or the events cannot be read.
        PlaybookError: the playbook does not load.
    """
    # What computes takes half a second to import; asking for help needs none of it.
    from services.cli.promises.report import Question, make
    from services.cli.promises.telling import as_json, as_text

    home = arguments.home or Path(os.environ.get("TACT_HOME", ".tact"))
    setting = arguments.playbook or os.environ.get("TACT_PLAYBOOK")
    until = microseconds(datetime.now(UTC)) if arguments.until is None else arguments.until
    if arguments.until is not None and (arguments.since or 0) > until:
        raise Failure("--since must lie before --until")
    question = Question(
        home=home,
        folder=arguments.home,
        playbook=Path(setting) if setting else None,
        since=arguments.since,
        until=until,
    )
    report = make(question)
    sys.stdout.write(json.dumps(as_json(report), indent=2) + "\n" if arguments.json else as_text(report))
    return 0
