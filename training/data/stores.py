"""Opens the stores that the feature and the profile service keep."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from training.data.ports import EventReader, ProfileReader
from training.data.sqlite_stores import SqliteEvents, SqliteProfiles

Store = Path | str
"""A SQLite file, or the ``postgresql://`` URL of a database."""
_POSTGRES: Final = ("postgresql://", "postgres://")


def store_of(text: str) -> Store:
    """Return the store that somebody named."""
    return text if text.startswith(_POSTGRES) else Path(text)


def events_in(store: Store) -> EventReader:
    """Open what the feature service keeps.

    Raises:
        Refused: it is no URL of a database.
    """
    if isinstance(store, Path):
        return SqliteEvents(store)
    # Only what reads a database needs the driver.
    from training.data.postgres_stores import PostgresEvents

    return PostgresEvents(store)


def profiles_in(store: Store) -> ProfileReader:
    """Open what the profile service keeps.

    Raises:
        Refused: it is no URL of a database.
    """
    if isinstance(store, Path):
        return SqliteProfiles(store)
    from training.data.postgres_stores import PostgresProfiles

    return PostgresProfiles(store)
