"""Ids made of what a row holds, for files that give their events none."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_COUNT: Final = """
    INSERT INTO seen VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times
"""


class Occurrences:
    """Tells events of the same content apart by how often it came before, in a file that is thrown away.

    So an import that is repeated makes the same ids, and memory does not grow with the rows.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def identify(self, parts: Sequence[object]) -> str:
        """Return the id of the next event made of these texts and numbers."""
        digest = hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).digest()[:16]
        times: int = self._connection.execute(_COUNT, (digest,)).fetchone()[0]
        return f"{digest.hex()}-{times}"


@contextmanager
def counted() -> Iterator[Occurrences]:
    """Count as long as the block lasts."""
    with (
        TemporaryDirectory(prefix="tact-import-") as folder,
        closing(sqlite3.connect(Path(folder, "seen.sqlite"), isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID")
        # One transaction that never ends, as nobody needs the file afterwards.
        connection.execute("BEGIN")
        yield Occurrences(connection)
