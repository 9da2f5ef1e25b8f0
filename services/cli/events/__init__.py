"""``tact events import``: puts what happened, from CSV and Parquet files, into a running feature service."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Final

UNITS: Final = ("seconds", "milliseconds", "microseconds")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    importing = verbs.add_parser("import", help="store the events of files; repeating it changes nothing")
    importing.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="CSV with a header, or Parquet"
    )
    _configure_columns(importing)
    _configure_reading(importing)
    _configure_sending(importing)


def run(arguments: argparse.Namespace) -> int:
    """Import; 1 where a row was refused.

    Raises:
        Failure: a file or the mapping cannot be used, or the service does not take the events.
        PlaybookError: the playbook does not load.
    """
    # gRPC and the playbook take half a second to import; asking for help needs neither.
    from services.cli.events.command import import_events

    return import_events(arguments)


def _configure_columns(parser: argparse.ArgumentParser) -> None:
    columns = parser.add_argument_group(
        "columns", "which column holds what; where left out, the column of that very name"
    )
    columns.add_argument(
        "--mapping", type=Path, metavar="YAML", help="a file that says this, by the names of these options"
    )
    columns.add_argument("--event-id", metavar="COLUMN")
    columns.add_argument(
        "--event-id-from",
        metavar="COLUMNS",
        help="make the id of what these columns hold, divided by commas, and of how often it came before; "
        "all: of the whole event",
    )
    columns.add_argument("--customer-id", metavar="COLUMN")
    columns.add_argument("--type", metavar="COLUMN")
    columns.add_argument("--constant-type", metavar="TYPE", help="the type of every event")
    columns.add_argument("--event-time", metavar="COLUMN")
    columns.add_argument(
        "--attribute",
        action="append",
        metavar="NAME=COLUMN",
        help="take only the attributes named so; where left out, every other column must be one",
    )


def _configure_reading(parser: argparse.ArgumentParser) -> None:
    reading = parser.add_argument_group("reading")
    reading.add_argument("--time-unit", choices=UNITS, help="event times are counted so since 1970 UTC")
    reading.add_argument(
        "--time-zone", metavar="ZONE", help="of times without an offset, such as Europe/Berlin"
    )
    reading.add_argument("--delimiter", default=",", metavar="CHARACTER", help="of CSV; by default a comma")
    reading.add_argument("--encoding", default="utf-8", metavar="NAME", help="of CSV; by default UTF-8")
    reading.add_argument(
        "--playbook",
        type=Path,
        metavar="FOLDER",
        help="whose events these are; by default TACT_PLAYBOOK, else what is in use under TACT_HOME",
    )


def _configure_sending(parser: argparse.ArgumentParser) -> None:
    sending = parser.add_argument_group("sending")
    sending.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="where features listens; else as TACT_FEATURES_HOST and TACT_FEATURES_PORT say",
    )
    sending.add_argument(
        "--rejects",
        type=Path,
        default=Path("rejects.csv"),
        metavar="FILE",
        help="where refused rows are listed; by default rejects.csv, which then is replaced",
    )
    sending.add_argument(
        "--patience",
        type=_seconds,
        default=300.0,
        metavar="SECONDS",
        help="how long to go on while the service is out of reach or overloaded; by default 300",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}" is no number of seconds')
    return seconds
