"""How a connection to PostgreSQL is made, cut and found wanting."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from services.chassis.stores import StoreUnavailable

Connection = AsyncConnection[TupleRow]

# What a URL says comes first. The time to connect is for each host that it names; a path that drops
# packets is found dead by the kernel within 20 s.
_DEFAULTS: Final = {
    "connect_timeout": "3",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "10000",
    "fallback_application_name": "tact",
}
# Of a client that vanished, the server would otherwise keep locks and statements for hours.
# Statements are short; to compile one takes longer than to run it. Each finds its rows by an index, and
# its plan, made once, holds for tables of any size.
_SESSION: Final = """
    SET statement_timeout = 5000;
    SET idle_in_transaction_session_timeout = 10000;
    SET jit = off;
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
"""
_NAMES: Final = sql.SQL(
    "SELECT set_config('search_path', quote_ident({}) || ', ' || current_setting('search_path'), {})"
)
_SESSION_SECONDS: Final = 3.0
_LATE: Final = "no answer in time: it is out of reach or slow, or another transaction holds a lock"
# What such errors say may quote values: data, constraints.
_QUOTING: Final = ("22", "23")
_REFUSING: Final = "28"


def store_name(url: str) -> str:
    """Name a database for errors, without where it is and who may use it.

    Raises:
        StoreUnavailable: ``url`` is no connection URL.
    """
    name = _parameters(url).get("dbname") or ""
    # A password with a character that should have been written otherwise may have been taken for a name.
    return f"PostgreSQL {'' if set(name) & set('@:/') else name}".rstrip()


async def connect(url: str, schema: str) -> Connection:
    """Make a connection on which every statement is its own transaction, unless one is begun.

    What a statement names is looked for in ``schema`` first, if the database has it.

    Raises:
        StoreUnavailable: there is none to be had.
    """
    name, parameters = store_name(url), {**_DEFAULTS, **_parameters(url), "client_encoding": "UTF8"}
    try:
        connection = await AsyncConnection.connect(make_conninfo("", **parameters), autocommit=True)
        with cutting(connection, asyncio.get_running_loop().time() + _SESSION_SECONDS):
            await connection.execute(sql.SQL(_SESSION) + naming(schema))
    except psycopg.Error as error:
        raise unavailable(name, error) from None
    if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
        end(connection)
        raise StoreUnavailable(f"{name}: its encoding is {encoding}, not UTF8")
    return connection


def naming(schema: str, *, is_local: bool = False) -> sql.Composed:
    """Return the statement from which on names are looked for in ``schema`` first, if there is one.

    With ``is_local`` that ends with the transaction.
    """
    return _NAMES.format(sql.Literal(schema), sql.Literal(is_local))


@contextmanager
def cutting(connection: Connection, deadline: float) -> Iterator[None]:
    """End what is done on a connection, and the connection, at a time of the loop's clock.

    A cancelled statement would be waited for until the server says so; one that is silent never does.
    """
    timer = asyncio.get_running_loop().call_at(deadline, _cut, connection)
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: Connection) -> None:
    with (
        suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


def end(connection: Connection) -> None:
    """Close a connection without waiting for anybody."""
    connection.pgconn.finish()


def is_idle(connection: Connection) -> bool:
    """Tell whether a connection can be used for whatever comes next."""
    return not connection.closed and connection.pgconn.transaction_status == TransactionStatus.IDLE


def is_lost(connection: Connection, error: psycopg.Error) -> bool:
    """Tell whether a connection is of no use after an error.

    That goes for one to a server that only reads: after a failover another may lead to the new primary.
    """
    return (
        connection.closed
        or error.diag.severity_nonlocalized in ("FATAL", "PANIC")
        or isinstance(error, psycopg.errors.ReadOnlySqlTransaction)
    )


def is_undone(error: psycopg.Error) -> bool:
    """Tell whether the server undid a transaction for the sake of others; again it may succeed."""
    return isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected)


def unavailable(name: str, error: psycopg.Error, *, late: bool = False) -> StoreUnavailable:
    """Make the error of a store that failed with ``error``, which quotes nothing of its data."""
    if late or isinstance(error, psycopg.errors.QueryCanceled):
        return StoreUnavailable(f"{name}: {_LATE}")
    if (error.sqlstate or "")[:2] in _QUOTING:
        return StoreUnavailable(f"{name}: {type(error).__name__}")
    if (error.sqlstate or "")[:2] == _REFUSING:
        return StoreUnavailable(f"{name}: it does not let this user in")
    if error.sqlstate is None and "resolve host" in str(error):
        return StoreUnavailable(f"{name}: its host cannot be found")
    # The library's own words begin with the address, once for each that was tried.
    said = error.diag.message_primary or str(error).partition("\n")[0].rpartition("failed: ")[2]
    return StoreUnavailable(f"{name}: {said}")


def _parameters(url: str) -> dict[str, str]:
    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error:
        # The error's own text may quote the password.
        raise StoreUnavailable("PostgreSQL: the URL cannot be read") from None
