"""``tact data import``: the rows of an archive into the stores that the settings name."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.chassis.settings import load
from services.chassis.stores import StoreUnavailable
from services.chassis.tables import Row, RowDiffers, Table
from services.cli.data.archive_reader import ArchiveReader, reading
from services.cli.data.parts import PARTS, Part, Settings, place_of
from services.cli.data.targets import Erased, Target, alone, target_of
from services.cli.failure import Failure
from services.cli.progress import shown
from services.engine.instants import microseconds
from services.profile.settings import ProfileSettings

_ROWS_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 1 << 20
# Who erases and who exports may go by clocks that differ so much.
_CLOCKS_MICROSECONDS: Final = 5 * 60 * 1_000_000
_ERASURE: Final = ("customer_hash", "erase_time")


@dataclass(slots=True, kw_only=True)
class Count:
    """What became of the rows of a service."""

    read: int = 0
    new: int = 0
    of_customers: int = 0
    of_decisions: int = 0

    def __str__(self) -> str:
        same = self.read - self.new - self.of_customers - self.of_decisions
        told = f"{self.read} read, {self.new} new, {same} there already"
        for count, whose in ((self.of_customers, "customers"), (self.of_decisions, "decisions")):
            told += f", {count} of erased {whose} left out" if count else ""
        return told


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
        sys.stdout.writelines(f"into {place_of(part, settings[part.name])}\n" for part in parts)
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
    counts = {part.name: Count() for part in parts}
    async with AsyncExitStack() as stack:
        targets = {
            part.name: await stack.enter_async_context(target_of(part, settings[part.name])) for part in parts
        }
        made_time = microseconds(archive.manifest.made_time)
        since = made_time - _CLOCKS_MICROSECONDS
        # An erasure amid the export, or one that broke off, is told by some services only, and is of all.
        known = {part.name: _erased(archive, part, since) for part in parts}
        there = [await target.erased(since) for target in targets.values()]
        times: dict[str, int] = {}
        for one, time in (pair for told in (*known.values(), *there) for pair in told.items()):
            times[one] = max(time, times.get(one, time))
        with shown("Import", sum(len(part.tables) for part in parts)) as advance:
            for part in parts:
                erased = Erased(made_time=made_time, since=since, times=times, known=known[part.name])
                # Numbers first, so that whoever goes on counting goes on behind them; they refer to nothing.
                # So do erased decisions, before what they keep out.
                for table in sorted(part.tables, key=lambda table: table.refers or not table.greatest):
                    await _put(archive, part, table, targets[part.name], erased, counts[part.name])
                    advance()
                await _settled(settings[part.name], counts[part.name])
    return counts


def _erased(archive: ArchiveReader, part: Part, since: int) -> dict[str, int]:
    """Return the tombstones that a part holds of who was erased from then on, and when."""
    (table,) = (table for table in part.tables if table.name == "erasures")
    times = ([row[table.columns.index(one)] for one in _ERASURE] for row in archive.rows(part, table))
    return {one: time for one, time in times if isinstance(time, int) and time >= since}


async def _settled(settings: Settings, count: Count) -> None:
    """Wait until nobody acts any more on who was one customer before."""
    if isinstance(settings, ProfileSettings) and count.new:
        await asyncio.sleep(settings.identity_lease_seconds)


async def _put(
    archive: ArchiveReader, part: Part, table: Table, target: Target, erased: Erased, count: Count
) -> None:
    for batch in _batches(archive.rows(part, table)):
        try:
            put = await target.put(table, batch, erased)
        except RowDiffers as error:
            raise Failure(f"{part.name}: {error}") from None
        except sqlite3.Error as error:
            raise Failure(f"{part.name}: {table.name}: {error}") from None
        count.read += len(batch)
        count.new += put.new
        count.of_customers += put.of_customers
        count.of_decisions += put.of_decisions


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
