"""``python -m bench``: measures, and writes JSON, Markdown and a picture."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.flame import NoProfiler
from bench.flame import record as record_flame_graph
from bench.learning import NoModel
from bench.metrics import Miscounted
from bench.picture import draw
from bench.processes import NotStarted
from bench.report import Result, markdown
from bench.run import FULL, QUICK, run
from bench.stores import run as stores
from bench.world import Refused

RESULTS = Path(__file__).parent / "results"
RESULT = "latest.json"
DECISIONS, STORES = "decisions", "stores"


def main() -> None:
    """Run the benchmark, or sample a flame graph."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure Decide against bare gRPC.")
    parser.add_argument("--quick", action="store_true", help="a few hundred requests: a test, no measurement")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--only", choices=(DECISIONS, STORES), help="the rest of the results stays as it is")
    parser.add_argument("--flame", type=Path, metavar="SVG", help="only sample a flame graph")
    arguments = parser.parse_args()
    if arguments.only == STORES and not (arguments.output / RESULT).exists():
        parser.error(f"{arguments.output} holds no decisions to add to: measure them first")
    try:
        if arguments.flame:
            record_flame_graph(arguments.flame)
        else:
            _write(_measured(arguments), arguments.output)
    except (Miscounted, NoModel, NoProfiler, NotStarted, Refused) as error:
        sys.exit(f"bench: {type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _measured(arguments: argparse.Namespace) -> Result:
    """Measure all parts, or one beside what was measured of the others."""
    options = [f"--only {arguments.only}"] if arguments.only else []
    options += ["--quick"] if arguments.quick else []
    command = " ".join(("python -m bench", *options)) if options else "make bench"
    before = arguments.output / RESULT
    kept = json.loads(before.read_text()) if arguments.only and before.exists() else {}
    found = {}
    if arguments.only != STORES:
        found |= run(QUICK if arguments.quick else FULL, command)
    if arguments.only != DECISIONS:
        found[STORES] = stores.measure(stores.QUICK if arguments.quick else stores.FULL, command)
    return kept | found


def _write(result: Result, folder: Path) -> None:
    text = markdown(result)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).write_text(json.dumps(result, indent=1) + "\n")
    (folder / "latest.md").write_text(text)
    draw(result, folder / "latest.png")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
