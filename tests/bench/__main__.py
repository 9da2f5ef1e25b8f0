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
from bench.world import Refused

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the benchmark, or sample a flame graph."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure Decide against bare gRPC.")
    parser.add_argument("--quick", action="store_true", help="a few hundred requests: a test, no measurement")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--flame", type=Path, metavar="SVG", help="only sample a flame graph")
    arguments = parser.parse_args()
    try:
        if arguments.flame:
            record_flame_graph(arguments.flame)
        elif arguments.quick:
            _write(run(QUICK, "python -m bench --quick"), arguments.output)
        else:
            _write(run(FULL, "make bench"), arguments.output)
    except (Miscounted, NoModel, NoProfiler, NotStarted, Refused) as error:
        sys.exit(f"bench: {type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _write(result: Result, folder: Path) -> None:
    text = markdown(result)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "latest.md").write_text(text)
    draw(result, folder / "latest.png")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
