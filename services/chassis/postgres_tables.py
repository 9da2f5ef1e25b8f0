"""Whole rows of tables in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from services.chassis.postgres_connection import Connection
from services.chassis.tables import Key, Row, RowDiffers, Table


async def page(
    connection: Connection, table: Table, owners: Sequence[str] | None, after: Key | None, limit: int
) -> list[Row]:
    """Return rows behind a key in the order of the keys; of these owners, or of everybody where None."""
    where, parameters = _owned(table, owners)
    if after is not None:
        where += sql.SQL(" AND ({}) > ({})").format(_names(table.key), _marks(len(after)))
        parameters += after
    statement = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT %s").format(
        _names(table.columns), sql.Identifier(table.name), where, _names(table.key)
    )
    cursor = await connection.execute(statement, (*parameters, limit))
    return await cursor.fetchall()


async def erase(connection: Connection, tables: Sequence[Table], owners: Sequence[str]) -> dict[str, int]:
    """Delete all rows of these owners, in the caller's transaction; return how many there were by table."""
    erased = {table.name: 0 for table in tables}
    for table in reversed([table for table in tables if table.owners]):
        where, parameters = _owned(table, owners)
        statement = sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(table.name), where)
        erased[table.name] = (await connection.execute(statement, parameters)).rowcount
    return erased


async def restore(connection: Connection, table: Table, rows: Sequence[Row]) -> int:
    """Put rows back, in the caller's transaction; return how many changed the table.

    Raises:
        RowDiffers: another row stands in the place of one; the caller undoes what was done.
    """
    if not rows:
        return 0
    if table.identity:
        # Before any row is: whoever inserts meanwhile would be given numbers that are given again.
        await connection.execute(_ALONE.format(sql.Identifier(table.name)))
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) {}").format(
        sql.Identifier(table.name), _names(table.columns), _marks(len(table.columns)), _instead(table)
    )
    async with connection.cursor() as cursor:
        await cursor.executemany(insert, rows)
        new = cursor.rowcount
    if new < len(rows) and not table.greatest:
        await _compare(connection, table, rows)
    if new and table.identity:
        await connection.execute(
            _RENUMBER.format(sql.Identifier(table.identity), sql.Identifier(table.name)),
            (table.name, table.identity) * 2,
        )
    return new


_ALONE = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE")
# Numbers go on behind those that were put back.
_RENUMBER = sql.SQL("""
    SELECT setval(
        pg_get_serial_sequence(%s, %s),
        greatest((SELECT max({}) FROM {}), nextval(pg_get_serial_sequence(%s, %s)))
    )
""")


async def _compare(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    same = sql.SQL("SELECT 1 FROM {} WHERE {}").format(
        sql.Identifier(table.name),
        sql.SQL(" AND ").join(
            # Only an equation is looked up in an index, and no key is null.
            sql.SQL("{} = %s" if column in table.key else "{} IS NOT DISTINCT FROM %s").format(
                sql.Identifier(column)
            )
            for column in table.columns
        ),
    )
    for row in rows:
        if await (await connection.execute(same, row)).fetchone() is None:
            raise RowDiffers(table, row)


def _instead(table: Table) -> sql.Composable:
    if not table.greatest:
        return sql.SQL("ON CONFLICT DO NOTHING")
    taken = (sql.Identifier(name) for name in table.columns if name not in table.key)
    column = sql.Identifier(table.greatest)
    return sql.SQL("ON CONFLICT ({}) DO UPDATE SET {} WHERE excluded.{} > {}.{}").format(
        _names(table.key),
        sql.SQL(", ").join(sql.SQL("{} = excluded.{}").format(name, name) for name in taken),
        column,
        sql.Identifier(table.name),
        column,
    )


def _owned(table: Table, owners: Sequence[str] | None) -> tuple[sql.Composed, tuple[object, ...]]:
    if owners is None:
        return sql.Composed([sql.SQL("true")]), ()
    if not table.owners:
        return sql.Composed([sql.SQL("false")]), ()
    held = sql.SQL(" OR ").join(sql.SQL("{} = ANY(%s)").format(sql.Identifier(c)) for c in table.owners)
    return sql.SQL("({})").format(held), (list(owners),) * len(table.owners)


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _marks(count: int) -> sql.Composed:
    return sql.SQL(", ").join([sql.Placeholder()] * count)
