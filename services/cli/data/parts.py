"""The stores of all services: which settings name them, and what they hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import services.features
import services.gateway
import services.profile
from services.chassis.postgres import Connection
from services.chassis.postgres_connection import store_name
from services.chassis.tables import Table
from services.features.adapters import postgres_events, sqlite_events
from services.features.adapters import tables as features_tables
from services.features.settings import FeatureSettings
from services.gateway.adapters import postgres_ledger, sqlite_ledger
from services.gateway.adapters import tables as gateway_tables
from services.gateway.settings import GatewaySettings
from services.profile.adapters import postgres_links, sqlite_links
from services.profile.adapters import tables as profile_tables
from services.profile.settings import ProfileSettings

Settings = ProfileSettings | FeatureSettings | GatewaySettings
InSqlite = Callable[[sqlite3.Connection, Collection[str]], object]
InPostgres = Callable[[Connection, Collection[str]], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noting:
    """What a service must be told, in the same transaction, when rows of a table were put back.

    Each is called with the customers whose rows these are.
    """

    in_sqlite: InSqlite
    in_postgres: InPostgres


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The store of one service; ``folder`` is the service's own. ``noting`` is by table.

    ``alone`` waits, in a transaction on PostgreSQL and before anything else, until nobody else writes.
    """

    name: str
    settings: type[Settings]
    tables: tuple[Table, ...]
    folder: Path
    noting: Mapping[str, Noting] = field(default_factory=dict)
    alone: Callable[[Connection], Awaitable[object]] | None = None

    @property
    def sqlite_migrations(self) -> list[str]:
        """Return the scripts that make a file's tables, in order."""
        return _scripts(self.folder / "migrations")

    @property
    def postgres_migrations(self) -> list[str]:
        """Return the scripts that make a database's tables, in order."""
        return _scripts(self.folder / "migrations" / "postgresql")


def place_of(part: Part, settings: Settings) -> str:
    """Say where a service keeps what it knows, without who may use it.

    Raises:
        StoreUnavailable: its URL is none.
    """
    return f"{part.name}: {store_name(settings.store_url) if settings.store_url else settings.file}"


def _scripts(folder: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.sql"))]


def _in_sqlite_features(connection: sqlite3.Connection, owners: Collection[str]) -> None:
    sqlite_events.note_import(connection)


async def _in_postgres_features(connection: Connection, owners: Collection[str]) -> None:
    await postgres_events.note_import(connection)


# Who decides by what a ledger held before must not write any more.
_MOVED: Final = Noting(in_sqlite=sqlite_ledger.move, in_postgres=postgres_ledger.move)

PROFILE: Final = Part(
    name="profile",
    settings=ProfileSettings,
    tables=profile_tables.TABLES,
    folder=Path(services.profile.__file__).parent,
    noting={"memberships": Noting(in_sqlite=sqlite_links.untangle, in_postgres=postgres_links.untangle)},
    alone=postgres_links.alone,
)
FEATURES: Final = Part(
    name="features",
    settings=FeatureSettings,
    tables=features_tables.TABLES,
    folder=Path(services.features.__file__).parent,
    noting={"events": Noting(in_sqlite=_in_sqlite_features, in_postgres=_in_postgres_features)},
)
GATEWAY: Final = Part(
    name="gateway",
    settings=GatewaySettings,
    tables=gateway_tables.TABLES,
    folder=Path(services.gateway.__file__).parent,
    noting={"contacts": _MOVED, "outcomes": _MOVED},
)
PARTS: Final = (PROFILE, FEATURES, GATEWAY)
"""In the order in which rows go in."""
