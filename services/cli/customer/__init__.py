"""``tact customer``: says who is one customer, tells what is on file, and takes customers out or away."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.cli.customer import linking
from services.cli.customer.linking import NAMING
from services.cli.moments import moment


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="where profile listens; else as TACT_PROFILE_HOST and TACT_PROFILE_PORT say",
    )
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    linking.configure(acts)
    export = acts.add_parser("export", help="write all that is kept of a customer into an archive")
    export.add_argument("customer", metavar="CUSTOMER", help=NAMING)
    export.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help="the archive; must not be there yet"
    )
    erase = acts.add_parser("erase", help="take all that is kept of a customer away, for good, and report")
    _configure_erase(erase)
    for act in (export, erase):
        for name in ("features", "gateway"):
            act.add_argument(
                f"--{name}-address",
                metavar="HOST:PORT",
                help=f"where {name} listens; else as its settings say",
            )


def run(arguments: argparse.Namespace) -> int:
    """Do or tell one thing.

    Raises:
        Failure: a service does not answer, or refuses.
    """
    # What takes customers out or away needs the settings of all services, and more.
    if arguments.act == "export":
        from services.cli.customer.exporting import export_customer

        return export_customer(arguments)
    if arguments.act == "erase":
        from services.cli.customer.erasing import erase_customers

        return erase_customers(arguments)
    return linking.run(arguments)


def _configure_erase(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "customer",
        nargs="?",
        metavar="CUSTOMER",
        help=f"{NAMING}; all members go; one that broke off goes on",
    )
    which.add_argument("--resume", type=Path, metavar="FILE", help="go on with the erasure of this report")
    which.add_argument(
        "--again",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="FOLDER",
        help="after a backup was restored: do every finished erasure again, of the reports in a folder, by "
        "default erasures under TACT_HOME",
    )
    parser.add_argument(
        "--since", type=moment, metavar="TIME", help="with --again, only erasures begun from then on"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--dataset",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="where datasets lie beside TACT_HOME; may be repeated",
    )
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="the MLflow store to look for models in; by default the one that scoring follows",
    )
