"""``tact data``: writes everything that the services keep into one archive, and puts archives into stores."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    exporting = verbs.add_parser(
        "export", help="write all rows of all stores that the settings name; services may go on running"
    )
    exporting.add_argument("file", type=Path, metavar="FILE", help="the archive; must not be there yet")
    importing = verbs.add_parser(
        "import",
        help="put the rows of an archive into the stores that the settings name; repeating changes nothing",
    )
    importing.add_argument(
        "file", type=Path, metavar="FILE", help="what an export wrote, of everything or one"
    )


def run(arguments: argparse.Namespace) -> int:
    """Export or import.

    Raises:
        Failure: the archive or a store cannot be used, or holds something else in a row's place.
    """
    # Asking for help needs neither the settings of the services nor the drivers of stores.
    if arguments.verb == "export":
        from services.cli.data.exporting import export_stores

        return export_stores(arguments.file)
    from services.cli.data.importing import import_archive

    return import_archive(arguments.file)
