"""How a SQLite file is opened, migrated and found wanting."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from services.chassis import stores
from services.chassis.stores import GARBLED, StoreUnavailable

_OPTIONS: dict[str, Any] = {"timeout": 5.0, "isolation_level": None, "cached_statements": 256}

_PAUSE_SECONDS = 0.01

_STORE_ERRORS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


# SQLite's own report of what is broken may quote it, and Python may fail to read that.
_ERRORS = (sqlite3.Error, UnicodeDecodeError)


def is_store_error(error: BaseException) -> bool:
    """Tell a store that fails (full, locked, broken) from a statement that does."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _STORE_ERRORS


def is_unreadable(error: BaseException) -> bool:
    """Tell a text that is no text any more; Python finds it, so SQLite's code is missing."""
    if isinstance(error, UnicodeDecodeError):
        return True
    return isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")


def is_io_error(error: BaseException) -> bool:
    """Tell a write or sync that the system failed to do."""
    return isinstance(error, sqlite3.Error) and (
        getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR
    )


def unavailable(path: Path, error: BaseException) -> StoreUnavailable:
    """Make the error of a store that failed with ``error``."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    if is_unreadable(error):
        # The error's own text quotes the value.
        reason = GARBLED
    return StoreUnavailable(f"{path.name}: {reason}")


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Raise ``StoreUnavailable`` where what the file holds is no longer what was written."""
    with stores.parsing(path.name):
        yield


class Reader(sqlite3.Connection):
    """A connection whose failing file, or end, shows as ``StoreUnavailable``."""

    path: Path
    is_closed = False

    def close(self) -> None:
        self.is_closed = True
        super().close()

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if self.is_closed:
            raise StoreUnavailable(f"{self.path.name} is closed")
        return self.cursor(_Rows).execute(sql, parameters)


class _Rows(sqlite3.Cursor):
    """The rows of a ``Reader``, of which a later one may lie in a broken page."""

    connection: Reader

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        try:
            return super().execute(sql, parameters)
        except _ERRORS as error:
            self._give_up(error)
            raise

    def fetchone(self) -> Any:
        try:
            return super().fetchone()
        except _ERRORS as error:
            self._give_up(error)
            raise

    def fetchall(self) -> list[Any]:
        try:
            return super().fetchall()
        except _ERRORS as error:
            self._give_up(error)
            raise

    def _give_up(self, error: Exception) -> None:
        # A statement that is left halfway pins the snapshot that all later reads would see.
        self.close()
        if is_store_error(error) or is_unreadable(error):
            raise unavailable(self.connection.path, error) from error


def connect_reader(path: Path) -> Reader:
    """Open a connection for the calling thread that cannot write."""
    connection = sqlite3.connect(path, factory=Reader, **_OPTIONS)
    connection.path = path
    connection.execute("PRAGMA query_only = ON")
    return connection


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open a connection that begins no transaction by itself, making file and folder where absent.

    Raises:
        StoreUnavailable: the file cannot be opened or is no database.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection: sqlite3.Connection = sqlite3.connect(path, check_same_thread=False, **_OPTIONS)
        try:
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
    except (*_ERRORS, OSError) as error:
        raise unavailable(path, error) from error
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; SQLite itself does not wait for others who do so to a new file."""
    until = time.monotonic() + _OPTIONS["timeout"]
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    """Apply the migrations that the file has not seen, each in a transaction of its own.

    Raises:
        StoreUnavailable: the file has seen more migrations than there are.
    """
    while (seen := schema_version(connection)) != len(migrations):
        if seen > len(migrations):
            raise StoreUnavailable(
                f"{path.name} has schema version {seen}, this program knows {len(migrations)}: "
                "a newer version wrote it"
            )
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster while this one waited for the lock.
            if schema_version(connection) == seen:
                for statement in _statements(migrations[seen]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {seen + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def schema_version(connection: sqlite3.Connection) -> int:
    """Return how many migrations a file has seen."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _statements(script: str) -> Iterator[str]:
    # ``executescript`` would commit first, and so break the migration in two.
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip("; \n\t"):
        yield statement
