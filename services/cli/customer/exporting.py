"""``tact customer export``: all that the services keep of one customer, as an archive that imports again."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

from services.chassis.tables import InvalidRow
from services.cli.customer.reaching import Reached, members_of, reached
from services.cli.data.archive_writer import writing
from services.cli.data.parts import PARTS, Part
from services.cli.failure import Failure


def export_customer(arguments: argparse.Namespace) -> int:
    """Write an archive of a customer and all its members.

    Raises:
        Failure: nothing is kept of the customer, a service does not answer, or the file cannot be written.
    """
    asyncio.run(_export(arguments))
    return 0


async def _export(arguments: argparse.Namespace) -> None:
    async with reached(arguments) as services:
        customer_ids = await members_of(services["profile"], arguments.customer)
        with writing(arguments.to, datetime.now(UTC), customer_ids) as archive:
            for part in PARTS:
                rows = _rows(services[part.name], part, customer_ids)
                await archive.add(part.name, len(part.sqlite_migrations), part.tables, rows)
            counts = {
                name: {table: written.rows for table, written in service.tables.items() if written.rows}
                for name, service in archive.services.items()
            }
            if not any(counts.values()):
                raise Failure(f"nothing is kept of {arguments.customer}")
    sys.stdout.write(f"{', '.join(customer_ids)}\n")
    sys.stdout.writelines(f"{name}: {told(rows)}\n" for name, rows in counts.items())


def told(rows: Mapping[str, int]) -> str:
    """Tell how many rows there are of each table that has some."""
    return ", ".join(f"{count} {table}" for table, count in rows.items() if count) or "nothing"


async def _rows(service: Reached, part: Part, customer_ids: Sequence[str]) -> AsyncIterator[tuple[str, str]]:
    tables = {table.name: table for table in part.tables}
    token = ""
    while True:
        asked = service.messages.ExportCustomerRequest(customer_ids=customer_ids, page_token=token)
        page = await service.call("ExportCustomer", asked)
        for row in page.rows:
            try:
                tables[row.table].decode(row.row)
            except (KeyError, InvalidRow):
                raise Failure(
                    f"{part.name} at {service.address} keeps another table {row.table} than this version of "
                    "Tact: use the command line of its version"
                ) from None
            yield row.table, row.row
        if not (token := page.next_page_token):
            return
