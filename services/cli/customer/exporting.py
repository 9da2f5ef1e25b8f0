"""``tact customer export``: all that the services keep of one customer, as an archive that imports again."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from services.chassis.tables import InvalidRow
from services.cli.customer.reaching import Reached, members_of, reached
from services.cli.data.archive_writer import writing
from services.cli.data.parts import PARTS, Part
from services.cli.data.references import References
from services.cli.failure import Failure

_ATTEMPTS: Final = 4


def export_customer(arguments: argparse.Namespace) -> int:
    """Write an archive of a customer and all its members.

    Raises:
        Failure: nothing is kept of the customer, a service does not answer, the file cannot be written, or
            the customer kept changing while it was written.
    """
    asyncio.run(_export(arguments))
    return 0


class _Changed(Failure):
    """Rows of one page refer to what came to be behind another."""


async def _export(arguments: argparse.Namespace) -> None:
    async with reached(arguments) as services:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                customer_ids, counts = await _written(arguments, services)
                break
            except _Changed:
                if attempt == _ATTEMPTS:
                    raise
    sys.stdout.write(f"{', '.join(customer_ids)}\n")
    sys.stdout.writelines(f"{name}: {told(rows)}\n" for name, rows in counts.items())


async def _written(
    arguments: argparse.Namespace, services: Mapping[str, Reached]
) -> tuple[tuple[str, ...], dict[str, dict[str, int]]]:
    """Write the archive; return whose it is and how many rows there are, by service and table."""
    customer_ids = await members_of(services["profile"], arguments.customer)
    with writing(arguments.to, datetime.now(UTC), customer_ids) as archive:
        for part in PARTS:
            references = References(part.name)
            rows = _rows(services[part.name], part, customer_ids, references)
            await archive.add(part.name, len(part.sqlite_migrations), part.tables, rows)
            if broken := references.broken():
                raise _Changed(
                    f"{part.name} gave {broken}, as the customer changes meanwhile: take it again later"
                )
        counts = {
            name: {table: written.rows for table, written in service.tables.items() if written.rows}
            for name, service in archive.services.items()
        }
        if not any(counts.values()):
            raise Failure(f"nothing is kept of {arguments.customer}")
    return customer_ids, counts


def told(rows: Mapping[str, int]) -> str:
    """Tell how many rows there are of each table that has some."""
    return ", ".join(f"{count} {table}" for table, count in rows.items() if count) or "nothing"


async def _rows(
    service: Reached, part: Part, customer_ids: Sequence[str], references: References
) -> AsyncIterator[tuple[str, str]]:
    tables = {table.name: table for table in part.tables}
    token = ""
    while True:
        asked = service.messages.ExportCustomerRequest(customer_ids=customer_ids, page_token=token)
        page = await service.call("ExportCustomer", asked)
        for row in page.rows:
            try:
                table = tables[row.table]
                references.note(table, table.decode(row.row))
            except (KeyError, InvalidRow):
                raise Failure(
                    f"{part.name} at {service.address} keeps another table {row.table} than this version of "
                    "Tact: use the command line of its version"
                ) from None
            yield row.table, row.row
        if not (token := page.next_page_token):
            return
