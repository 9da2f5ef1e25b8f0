"""``tact serve SERVICE``: runs one service until a signal."""

from __future__ import annotations

import argparse
from importlib import import_module

SERVICES = ("profile", "features", "scoring", "gateway")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("service", choices=SERVICES)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    import_module(f"services.{arguments.service}.__main__").main()
    return 0
