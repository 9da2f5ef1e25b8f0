"""Whole rows of tables in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from services.chassis.tables import Key, Row, RowDiffers, Table


def page(
    connection: sqlite3.Connection,
    table: Table,
    owners: Sequence[str] | None,
    after: Key | None,
    limit: int,
) -> list[Row]:
    """Return rows behind a key in the order of the keys; of these owners, or of everybody where None."""
    key = ", ".join(table.key)
    where, parameters = _owned(table, owners)
    if after is not None:
        where += f" AND ({key}) > ({', '.join('?' * len(after))})"
        parameters += after
    # Here and below, statements are made of the names of tables and columns, which the program declares.
    statement = f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {where} ORDER BY {key} LIMIT ?"  # noqa: S608
    return connection.execute(statement, (*parameters, limit)).fetchall()


def erase(connection: sqlite3.Connection, tables: Sequence[Table], owners: Sequence[str]) -> dict[str, int]:
    """Delete all rows of these owners, in the caller's transaction; return how many there were by table."""
    erased = {table.name: 0 for table in tables}
    for table in reversed([table for table in tables if table.owners]):
        where, parameters = _owned(table, owners)
        statement = f"DELETE FROM {table.name} WHERE {where}"  # noqa: S608
        erased[table.name] = connection.execute(statement, parameters).rowcount
    return erased


def restore(connection: sqlite3.Connection, table: Table, rows: Iterable[Row]) -> int:
    """Put rows back, in the caller's transaction; return how many changed the table.

    Raises:
        RowDiffers: another row stands in the place of one; the caller undoes what was done.
    """
    marks = ", ".join("?" * len(table.columns))
    insert = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks}) {_instead(table)}"  # noqa: S608
    same = f"SELECT 1 FROM {table.name} WHERE {' AND '.join(f'{c} IS ?' for c in table.columns)}"  # noqa: S608
    new = 0
    for row in rows:
        if connection.execute(insert, row).rowcount:
            new += 1
        elif not table.greatest and connection.execute(same, row).fetchone() is None:
            raise RowDiffers(table, row)
    return new


def _instead(table: Table) -> str:
    if not (column := table.greatest):
        return "ON CONFLICT DO NOTHING"
    taken = ", ".join(f"{name} = excluded.{name}" for name in table.columns if name not in table.key)
    return (
        f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {taken} "
        f"WHERE excluded.{column} > {table.name}.{column}"
    )


def _owned(table: Table, owners: Sequence[str] | None) -> tuple[str, tuple[object, ...]]:
    if owners is None:
        return "true", ()
    if not table.owners:
        return "false", ()
    asked = json.dumps(list(owners))
    held = " OR ".join(f"{column} IN (SELECT value FROM json_each(?))" for column in table.owners)  # noqa: S608
    return f"({held})", (asked,) * len(table.owners)
