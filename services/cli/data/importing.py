"""``tact data import``: the rows of an archive into the stores that the settings name."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.chassis.settings import load
from services.chassis.stores import StoreUnavailable
from services.chassis.tables import Row, RowDiffers, Table
from services.cli.data.archive_reader import ArchiveReader, reading
from services.cli.data.parts import PARTS, Part, Settings
from services.cli.data.targets import Target, alone, target_of
from services.cli.failure import Failure
from services.cli.progress import shown
from services.engine.instants import microseconds
from services.profile.settings import ProfileSettings

_ROWS_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 1 << 20


@dataclass(slots=True, kw_only=True)
class Count:
    """What became of the rows of a service."""

    read: int = 0
    new: int = 0
    erased: int = 0

    def __str__(self) -> str:
        same = self.read - self.new - self.erased
        told = f"{self.read} read, {self.new} new, {same} there already"
        return told + (f", {self.erased} of erased customers left out" if self.erased else "")


def import_archive(path: Path) -> int:
    """Put all rows of an archive in; repeating it finishes what broke off, and else changes nothing.

    Raises:
        Failure: the archive is damaged or of another version, whereupon nothing is put in; or a store
            cannot be written or holds another row in the place of one, whereupon nothing of that batch is.
    """
    with reading(path, PARTS) as archive:
        parts = [part for part in PARTS if part.name in archive.manifest.services]
        settings = {part.name: load(part.settings) for part in parts}
        tables = [(part, table) for part in parts for table in part.tables]
        with shown("Verify", len(tables)) as advance:
            for part, table in tables:
                archive.verify(part, table)
                advance()
        try:
            with alone(list(settings.values())):
                counts = asyncio.run(_import(archive, parts, settings))
        except StoreUnavailable as error:
            raise Failure(str(error)) from None
    for name, count in counts.items():
        sys.stdout.write(f"{name}: {count}\n")
    return 0


async def _import(
    archive: ArchiveReader, parts: Sequence[Part], settings: dict[str, Settings]
) -> dict[str, Count]:
    since = microseconds(archive.manifest.made_time)
    counts = {part.name: Count() for part in parts}
    with shown("Import", sum(len(part.tables) for part in parts)) as advance:
        for part in parts:
            async with target_of(part, settings[part.name]) as target:
                # Numbers first, so that whoever goes on counting goes on behind them; they refer to nothing.
                for table in sorted(part.tables, key=lambda table: table.refers or not table.greatest):
                    await _put(archive, part, table, target, since, counts[part.name])
                    advance()
            await _settled(settings[part.name], counts[part.name])
    return counts


async def _settled(settings: Settings, count: Count) -> None:
    """Wait until nobody acts any more on who was one customer before."""
    if isinstance(settings, ProfileSettings) and settings.store_url and count.new:
        await asyncio.sleep(settings.identity_lease_seconds)


async def _put(
    archive: ArchiveReader, part: Part, table: Table, target: Target, since: int, count: Count
) -> None:
    for batch in _batches(archive.rows(part, table)):
        try:
            put = await target.put(table, batch, since)
        except RowDiffers as error:
            raise Failure(f"{part.name}: {error}") from None
        except sqlite3.Error as error:
            raise Failure(f"{part.name}: {table.name}: {error}") from None
        count.read += len(batch)
        count.new += put.new
        count.erased += put.erased


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
        if len(batch) == _ROWS_AT_ONCE or size >= _BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
