"""``tact playbook diff``: what another playbook would have changed in decisions on record."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

VERB: Final = "diff"
_PLAYBOOK: Final = "a folder, a version in the store or how it alone begins, or: published"


def configure(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the arguments."""
    diff = verbs.add_parser(VERB, help="show who would gain and lose what, by decisions on record")
    diff.add_argument("old", metavar="OLD", help=_PLAYBOOK)
    diff.add_argument("new", metavar="NEW", help=_PLAYBOOK)
    diff.add_argument(
        "--decisions",
        metavar="LOG",
        help="a gateway's store: a file, its folder or a URL; by default what a gateway would use here",
    )
    diff.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="NAME",
        help="divide decisions, such as by profile.region, context.placement, feature.spend_90d or "
        "control_arm; may be repeated",
    )
    diff.add_argument(
        "--model", action="store_true", help="let the champion score what the log has no score of"
    )
    diff.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    diff.add_argument(
        "--picture", type=Path, metavar="FILE", help="where the picture goes; by default TACT_HOME/diff.png"
    )


def run(arguments: argparse.Namespace) -> int:
    """Compare; raises the ``Failure`` of ``command.run``."""
    # The gateway takes a second to import; asking for help needs none of it.
    from services.cli.diff import command

    return command.run(arguments)
