"""``tact features``: proves that what was served is what the events say."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from services.cli import customer_stores, decision_log
from services.cli.decision_log import Entry
from services.cli.failure import Failure
from services.cli.features.parity import Parity
from services.cli.features.tally import Tally
from services.cli.progress import shown
from services.cli.shelf import Shelf, usual_places
from training.data.stores import events_in
from training.refusal import Refused

_TOGETHER: Final = 200
"""Of so many decisions the events are read at once."""

T = TypeVar("T")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    parity = acts.add_parser(
        "parity",
        help="recompute the features of decisions on record from the events",
        description="Recompute the features that decisions on record were made by, from the events up to the "
        "sequence that each names, as of its time, and say what is not equal to the last bit.",
    )
    parity.add_argument(
        "log",
        nargs="?",
        metavar="LOG",
        help="a gateway's SQLite file, the folder that holds it, or the postgresql:// URL of its database; "
        "by default what a gateway would use here",
    )
    parity.add_argument(
        "--events",
        metavar="STORE",
        help="features.sqlite or a postgresql:// URL; by default what the feature service would use here",
    )
    parity.add_argument(
        "--playbook",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="a playbook, or a store of published ones, to look in; may be repeated; by default "
        "TACT_PLAYBOOK, the store beside the log, and those that come with Tact",
    )
    parity.add_argument("--json", action="store_true", help="print the counts as one line of JSON")


def run(arguments: argparse.Namespace) -> int:
    """Recompute; 0 only if all that could be recomputed is equal, and something could.

    Raises:
        Failure: the log or the events cannot be read, or a folder that was named holds no playbook.
    """
    total = decision_log.count(arguments.log)
    shelf = Shelf(arguments.playbook or list(usual_places(decision_log.home_of(arguments.log))))
    tally = Tally()
    try:
        parity = Parity(events_in(customer_stores.events_store(arguments.events)), shelf)
        entries = islice(decision_log.records(arguments.log), total)
        with shown("Parity", total) as advance:
            for portion in _portions(entries, _TOGETHER):
                for compared in parity.compare(portion):
                    tally.add(compared)
                    advance()
    except Refused as error:
        raise Failure(str(error)) from None
    sys.stdout.write(tally.summary() if arguments.json else str(tally))
    return 0 if tally.is_clean else 1


def _portions(items: Iterator[Entry], size: int) -> Iterator[list[Entry]]:
    while portion := list(islice(items, size)):
        yield portion
