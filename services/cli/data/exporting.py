"""``tact data export``: everything of all stores, at one moment of each, into one archive."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from services.chassis.settings import load
from services.cli.data.archive_writer import writing
from services.cli.data.parts import PARTS, place_of
from services.cli.data.snapshots import rows, snapshot_of
from services.cli.failure import Failure
from services.cli.progress import shown


def export_stores(path: Path) -> int:
    """Write all rows of the stores that the settings name.

    A store that was never made has no rows, and that is said.

    Raises:
        Failure: there is no store at all, one cannot be read, or the archive cannot be written.
    """
    asyncio.run(_export(path))
    return 0


async def _export(path: Path) -> None:
    settings = {part.name: load(part.settings) for part in PARTS}
    sys.stdout.writelines(f"from {place_of(part, settings[part.name])}\n" for part in PARTS)
    absent = []
    with (
        writing(path, datetime.now(UTC), None) as archive,
        shown("Export", len(PARTS)) as advance,
    ):
        # Decisions first, so that what they rested on is among what follows.
        for part in reversed(PARTS):
            async with snapshot_of(part, settings[part.name]) as snapshot:
                found = rows(snapshot, part)
                await archive.add(part.name, len(part.sqlite_migrations), part.tables, found)
            if snapshot is None:
                absent.append(part.name)
            advance()
        if len(absent) == len(PARTS):
            raise Failure(
                f"there is no store under {settings[PARTS[0].name].home}, and none that a setting names"
            )
    for name, service in archive.services.items():
        counts = ", ".join(f"{table.rows} {table_name}" for table_name, table in service.tables.items())
        sys.stdout.write(f"{name}: {'no store was ever made' if name in absent else counts}\n")
