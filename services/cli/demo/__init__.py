"""``tact demo``: from public shopping data to ranked actions over gRPC, with nothing made up but consents."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from rich.console import Console

from services.cli.demo import decide, ingest, learn, report
from services.cli.demo.progress import Steps
from services.cli.demo.server import serving
from services.engine.playbook.loader import shipped
from training.data.completejourney import CompleteJourney


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--again", action="store_true", help="redo the steps that an earlier run finished")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; its last line on standard output is one JSON object."""
    home = Path(os.environ.get("TACT_HOME", ".tact"))
    playbook = Path(os.environ.get("TACT_PLAYBOOK", shipped("retail")))
    out, err = Console(width=None if sys.stdout.isatty() else 130), Console(stderr=True)
    steps = Steps(home / "demo" / "steps.json", forget=arguments.again)
    data = CompleteJourney()
    out.print(
        "[bold]The Complete Journey[/bold]: public data of 84.51°, for teaching only. The consents are "
        "synthetic: the data hold none. The mailings were not random, so nothing here shows cause."
    )
    with serving(home, playbook) as ports:
        asyncio.run(ingest.run(data, ports, steps, err))
        version = learn.run(playbook, home, data, steps, err)
        decided = asyncio.run(decide.run(data, ports, version, err))
    report.household(decided, out)
    summary = report.comparison(data, decided, out)
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0
