"""Finds the subcommand and runs it; mistakes of the user end in one clear message."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from services.chassis.server import ListenError
from services.chassis.settings import InvalidSettings
from services.chassis.sqlite import StoreUnavailable
from services.cli.failure import Failure
from services.engine.playbook.errors import PlaybookError

SUBCOMMANDS: Final = {
    "up": ("services.cli.up", "run all services in one process"),
    "serve": ("services.cli.serve", "run one service"),
    "demo": ("services.cli.demo", "train and decide on public shopping data"),
    "playbook": ("services.cli.playbook", "check, test, publish or roll back a playbook"),
    "explain": ("services.cli.explain", "tell why one decision was made so"),
    "customer": ("services.cli.customer", "link, export and erase customers, tell their links and consents"),
    "replay": ("services.cli.replay", "make decisions on record again and say what differs"),
    "arms": ("services.cli.arms", "measure what each layer of deciding is worth, by control arms"),
    "promises": ("services.cli.promises", "measure how response-time promises are kept"),
    "events": ("services.cli.events", "import events from CSV and Parquet files"),
    "data": ("services.cli.data", "export all that the services keep, and import it elsewhere"),
    "features": ("services.cli.features", "prove that served features are what the events say"),
    "dataset": ("services.cli.job", "build a dataset from the event log"),
    "train": ("services.cli.job", "train a model and register it"),
    "evaluate": ("services.cli.job", "evaluate a registered model on a dataset"),
    "promote": ("services.cli.job", "make a registered model the champion, if it passes the gate"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0, or 1 where it failed for a reason that it names."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="tact", description="What to do next for one customer, and why.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, text) in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if arguments[:1] == [name]:
            import_module(module).configure(subparser)
    parsed = parser.parse_args(arguments)
    run = import_module(SUBCOMMANDS[parsed.command][0]).run
    try:
        code: int = run(parsed)
    except (Failure, InvalidSettings, ListenError, PlaybookError, StoreUnavailable, ValueError) as error:
        sys.stderr.write(f"tact {parsed.command}: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read has seen enough; what is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
