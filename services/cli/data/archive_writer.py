"""Writes an archive, row by row."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from services.chassis.tables import Table
from services.cli.data.manifest import MANIFEST, ArchivedService, ArchivedTable, Manifest, file_of
from services.cli.failure import Failure


class ArchiveWriter:
    """An archive that is being written."""

    def __init__(
        self, archive: zipfile.ZipFile, made_time: datetime, customers: Sequence[str] | None
    ) -> None:
        self._archive = archive
        self._made_time = made_time
        self._customers = None if customers is None else tuple(customers)
        self._services: dict[str, ArchivedService] = {}

    @property
    def services(self) -> Mapping[str, ArchivedService]:
        """Return what was written so far."""
        return self._services

    async def add(
        self, service: str, schema_version: int, tables: Sequence[Table], rows: AsyncIterator[tuple[str, str]]
    ) -> None:
        """Write the rows of a service, as (table, JSON); they come in the order of the tables."""
        row = await anext(rows, None)
        written = {}
        for table in tables:
            count, digest = 0, hashlib.sha256()
            with self._archive.open(file_of(service, table.name), "w", force_zip64=True) as file:
                while row is not None and row[0] == table.name:
                    line = f"{row[1]}\n".encode()
                    file.write(line)
                    digest.update(line)
                    count += 1
                    row = await anext(rows, None)
            written[table.name] = ArchivedTable(rows=count, sha256=digest.hexdigest())
        if row is not None:
            raise Failure(f"{service} gave rows of {row[0]} where none can be")
        self._services[service] = ArchivedService(schema_version=schema_version, tables=written)

    def end(self) -> None:
        """Write what the archive says of itself."""
        manifest = Manifest(made_time=self._made_time, customers=self._customers, services=self._services)
        self._archive.writestr(MANIFEST, manifest.model_dump_json(indent=2) + "\n")


@contextmanager
def writing(path: Path, made_time: datetime, customers: Sequence[str] | None) -> Iterator[ArchiveWriter]:
    """Write an archive that appears under its name once it is whole, readable by its owner alone.

    Raises:
        Failure: it is there already, or cannot be written.
    """
    if path.exists():
        raise Failure(f"{path} is there already")
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with open(os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600), "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                writer = ArchiveWriter(archive, made_time, customers)
                yield writer
                writer.end()
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
