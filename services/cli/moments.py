"""Times as people write them on the command line."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from services.engine.instants import microseconds


def moment(text: str) -> int:
    """Read an instant as UTC microseconds; one without an offset is UTC, a day its midnight.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = (
            f'"{text}" is no time such as 2026-03-02T10:00:00+01:00 or 2026-03-02, which is its midnight UTC'
        )
        raise argparse.ArgumentTypeError(message) from None
    return microseconds(found if found.tzinfo else found.replace(tzinfo=UTC))
