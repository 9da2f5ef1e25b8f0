"""What the bare stores do: a round trip that reads, and durable transactions of the same rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

Rows = Mapping[str, Sequence[Sequence[Any]]]
"""What one transaction writes: rows by table."""
Trip = Callable[[Sequence[str]], object]
"""Reads something for customers, and no more than that."""
Transact = Callable[[Iterable[Rows]], None]
"""Writes one durable transaction after the other."""


def sqlite(stack: ExitStack, file: Path, point: str, scripts: Sequence[str]) -> tuple[Trip, Transact]:
    """Read by a statement once a customer; write to a file beside, of the same tables and as durable."""
    reading = stack.enter_context(closing(sqlite3.connect(file)))
    writing = stack.enter_context(
        closing(sqlite3.connect(file.with_name(f"bare-{file.name}"), isolation_level=None))
    )
    writing.execute("PRAGMA journal_mode = WAL")
    writing.execute("PRAGMA synchronous = FULL")
    for script in scripts:
        writing.executescript(script)

    def trip(customer_ids: Sequence[str]) -> object:
        return [reading.execute(point, (customer_id,)).fetchone() for customer_id in customer_ids]

    def transact(transactions: Iterable[Rows]) -> None:
        for tables in transactions:
            writing.execute("BEGIN IMMEDIATE")
            for table, rows in tables.items():
                slots = ", ".join("?" * len(rows[0]))
                # The names of tables are our own.
                writing.executemany(f"INSERT INTO {table} VALUES ({slots})", rows)  # noqa: S608
            writing.execute("COMMIT")

    return trip, transact


def postgresql(stack: ExitStack, url: str, schema: str, tables: Iterable[str]) -> tuple[Trip, Transact]:
    """Ask for a 1, however many customers; write to tables of the same columns and indexes, as durable."""
    reading = stack.enter_context(closing(psycopg.connect(url, autocommit=True)))
    writing = stack.enter_context(closing(psycopg.connect(url)))
    for table in tables:
        named = {"bare": sql.Identifier(f"bare_{table}"), "table": sql.Identifier(schema, table)}
        writing.execute(sql.SQL("CREATE TABLE {bare} (LIKE {table} INCLUDING ALL)").format(**named))
    writing.execute("SET synchronous_commit = on")
    writing.commit()

    def trip(customer_ids: Sequence[str]) -> object:
        return reading.execute("SELECT 1").fetchone()

    def transact(transactions: Iterable[Rows]) -> None:
        with writing.cursor() as cursor:
            for tables in transactions:
                for table, rows in tables.items():
                    statement = sql.SQL("INSERT INTO {} VALUES ({})").format(
                        sql.Identifier(f"bare_{table}"),
                        sql.SQL(", ").join([sql.Placeholder()] * len(rows[0])),
                    )
                    cursor.executemany(statement, rows)
                writing.commit()

    return trip, transact
