"""``tact replay [LOG]``: makes decisions on record again, without any server, and says what differs."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from services.chassis.settings import load
from services.cli import decision_log
from services.cli.failure import Failure
from services.cli.progress import shown
from services.cli.replayed import Tally, as_json
from services.cli.shelf import Shelf, usual_places
from services.gateway.adapters.replica import ProtoReplica
from services.gateway.adapters.sealing import seal_of
from services.gateway.ports import Rescorer
from services.gateway.remakes import Remakes
from services.gateway.replays import Replays


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "log",
        nargs="?",
        metavar="LOG",
        help="a gateway's SQLite file, the folder that holds it, or the postgresql:// URL of its database; "
        "by default what a gateway would use here",
    )
    parser.add_argument(
        "--rescore",
        action="store_true",
        help="make the scores anew, too, by the model versions in the registry that scoring follows",
    )
    parser.add_argument(
        "--playbook",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="a playbook, or a store of published ones, to look in; may be repeated; by default "
        "TACT_PLAYBOOK, the store beside the log, and those that come with Tact",
    )
    parser.add_argument("--limit", type=_count, metavar="N", help="only the N earliest decisions")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a line of JSON for each decision that is not identical, then one with the counts",
    )


def run(arguments: argparse.Namespace) -> int:
    """Replay a log; 0 only if every decision came out identical.

    Raises:
        Failure: there is no such log, it is none, or it cannot be read; or a folder that was named
            holds no playbook that can be used.
    """
    with _models(arguments.rescore) as models:
        tally = asyncio.run(_replay(arguments, models))
    sys.stdout.write(tally.summary() if arguments.json else str(tally))
    return 0 if tally.is_clean else 1


async def _replay(arguments: argparse.Namespace, models: Rescorer | None) -> Tally:
    erased = decision_log.erased(arguments.log)
    total, tally = decision_log.count(arguments.log), Tally()
    if arguments.limit is not None:
        total = min(total, arguments.limit)
    shelf = Shelf(arguments.playbook or list(usual_places(decision_log.home_of(arguments.log))))
    replays = Replays(
        remakes=Remakes(edition=shelf.edition, pause=_at_once), seal=seal_of, recall=ProtoReplica
    )
    with shown("Replay", total) as advance:
        for entry in islice(decision_log.records(arguments.log), total):
            replay = await replays.replay(entry.decision_id, entry.record, models, _without_end)
            tally.add(entry.decision_id, replay)
            if arguments.json and replay.verdict != "IDENTICAL":
                sys.stdout.write(as_json(entry, replay))
            advance()
    tally.erased = decision_log.erased(arguments.log)
    if not 0 <= total - tally.decisions <= tally.erased - erased:
        raise Failure(f"{total} decisions were counted, but {tally.decisions} read: the log is damaged")
    return tally


@contextmanager
def _models(is_wanted: bool) -> Iterator[Rescorer | None]:
    if not is_wanted:
        yield None
        return
    # Only scoring needs LightGBM and MLflow, so they need not be installed elsewhere.
    from services.cli.registered_models import RegisteredModels
    from services.scoring.adapters.mlflow_registry import MlflowRegistry
    from services.scoring.settings import ScoringSettings

    settings = load(ScoringSettings)
    with MlflowRegistry(settings.registry_uri, settings.model_name, settings.alias) as registry:
        yield RegisteredModels(registry)


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} is no number of decisions")
    return int(text)


async def _at_once() -> None:
    """Go on: nobody else waits for their turn."""


def _without_end() -> None:
    """Return that there is no deadline."""
