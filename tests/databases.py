"""PostgreSQL databases of a test's own; ``TACT_TEST_POSTGRES`` names a server other than this machine's."""

import atexit
import contextlib
import functools
import os
import time
import uuid
from urllib.parse import urlsplit, urlunsplit

import psycopg
from monitoring import absent

SERVER = os.environ.get("TACT_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
PATIENCE_SECONDS = 5


@contextlib.contextmanager
def postgresql(options="ENCODING 'UTF8'"):
    """Make a database; yields its URL. Without a server the test skips, or fails if servers are required."""
    name = f"tact_test_{uuid.uuid4().hex}"
    with administrator() as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        try:
            yield urlunsplit(urlsplit(SERVER)._replace(path=f"/{name}"))
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@functools.cache
def shared_postgresql():
    """Make a database for all tests of this process; returns its URL."""
    stack = contextlib.ExitStack()
    url = stack.enter_context(postgresql())
    atexit.register(stack.close)
    return url


def emptied(url):
    """Drop all that a database holds; returns its URL."""
    own = "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'"
    with administrator(url) as server:
        for (schema,) in server.execute(own).fetchall():
            server.execute(f"DROP SCHEMA {schema} CASCADE")
        server.execute("CREATE SCHEMA public")
    return url


def dumped(url):
    """Return every row of every table that a database holds, as text."""
    own = """
        SELECT format('SELECT whole::text FROM %I.%I AS whole', schemaname, tablename)
        FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'
    """
    with administrator(url) as server:
        queries = [query for (query,) in server.execute(own).fetchall()]
        return "\n".join(row for query in queries for (row,) in server.execute(query).fetchall())


@contextlib.contextmanager
def administrator(url=SERVER):
    """Connect as who may do everything; each statement is its own transaction."""
    try:
        server = psycopg.connect(url, autocommit=True, connect_timeout=PATIENCE_SECONDS)
    except psycopg.OperationalError as error:
        reason = str(error).partition("\n")[0]
        absent(f"no PostgreSQL to test with, TACT_TEST_POSTGRES may name one: {reason}")
    with contextlib.closing(server):
        yield server


def by_way_of(url, **changes):
    """Return the URL of a database with another ``port``, ``username`` or ``password``."""
    parts = urlsplit(url)
    username = changes.get("username", parts.username)
    password = changes.get("password", parts.password)
    user = f"{username}:{password}" if password else username
    port = changes.get("port", parts.port or 5432)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.hostname}:{port}"))


def terminate(url):
    """End all connections to a database but one's own; returns how many there were."""
    query = """
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
    with administrator(url) as server:
        return server.execute(query).fetchone()[0]


def scanned(url):
    """Return how often each table of a database was read without an index, once nobody else uses it."""
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with administrator(url) as server:
        # Who leaves tells what they did as they go.
        while server.execute(others).fetchone()[0]:
            time.sleep(0.01)
        server.execute("SELECT pg_stat_clear_snapshot()")
        rows = server.execute(
            "SELECT schemaname || '.' || relname, seq_scan FROM pg_stat_user_tables"
        ).fetchall()
    return dict(rows)
