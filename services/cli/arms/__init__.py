"""``tact arms report``: what each layer of deciding is worth, by control arms on record."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import cast

from services.cli.moments import moment
from services.engine.playbook.kinds import parse_window


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    report = verbs.add_parser("report", help="outcome and value of each control arm, with intervals")
    report.add_argument(
        "log",
        nargs="?",
        metavar="LOG",
        help="a gateway's SQLite file, the folder that holds it, or the postgresql:// URL of its database; "
        "by default what a gateway would use here",
    )
    report.add_argument("--dry", action="store_true", help="tell of dry runs, by outcomes that are events")
    report.add_argument("--json", action="store_true", help="print all figures as JSON")
    report.add_argument(
        "--all", action="store_true", dest="every", help="look at mandatory and transactional actions too"
    )
    report.add_argument("--since", type=moment, metavar="TIME", help="only decisions made from then on")
    report.add_argument(
        "--until",
        type=moment,
        metavar="TIME",
        help="what was known at that time; by default the newest time on record",
    )
    report.add_argument(
        "--within", type=_length, metavar="7d", help="how long after a decision reports of it count"
    )
    report.add_argument(
        "--playbook",
        type=Path,
        metavar="FOLDER",
        help="whose outcomes count; by default those of each decision's own version, where it is at hand",
    )
    report.add_argument(
        "--events",
        metavar="FILE",
        help="the feature service's store, or the postgresql:// URL of its database; by default beside a LOG "
        "that is a file, else what the service would use here",
    )
    report.add_argument(
        "--profiles", metavar="FILE", help="the profile service's store, likewise: it knows who was linked"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the report.

    Raises:
        Failure: there is nothing to report on, or a store cannot be read.
    """
    # What computes takes half a second to import; asking for help needs none of it.
    from services.cli.arms.figures import as_json
    from services.cli.arms.report import Question, make
    from services.cli.arms.telling import as_text

    report = make(
        Question(
            log=arguments.log,
            live=not arguments.dry,
            since=arguments.since,
            until=arguments.until,
            within=arguments.within,
            every=arguments.every,
            playbook=arguments.playbook,
            events=arguments.events,
            profiles=arguments.profiles,
        )
    )
    sys.stdout.write(json.dumps(as_json(report), indent=2) + "\n" if arguments.json else as_text(report))
    return 0


def _length(text: str) -> timedelta:
    try:
        return cast("timedelta", parse_window(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
