"""The kinds of store, and which of them can be measured here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Final

import databases
import psycopg
import redis
import redises

SQLITE: Final = "SQLite"
POSTGRESQL: Final = "PostgreSQL"
PROCESS: Final = "process"
REDIS: Final = "Redis"
_PATIENCE_SECONDS: Final = 2


def present() -> Mapping[str, bool]:
    """Tell which stores can be measured here: those on servers where one answers."""
    found = {SQLITE: True, POSTGRESQL: False, REDIS: False}
    with (
        suppress(psycopg.OperationalError),
        psycopg.connect(databases.SERVER, connect_timeout=_PATIENCE_SECONDS),
    ):
        found[POSTGRESQL] = True
    with (
        suppress(redis.RedisError),
        closing(redis.Redis.from_url(redises.SERVER, socket_connect_timeout=_PATIENCE_SECONDS)) as client,
    ):
        found[REDIS] = bool(client.ping())
    return found
