"""Reads an archive, and refuses it before anything is done with it where it is not what was written."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from services.chassis.tables import InvalidRow, Row, Table
from services.cli.data.manifest import FORMAT, MANIFEST, Manifest, file_of
from services.cli.data.parts import Part
from services.cli.failure import Failure

_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)
_LONGEST_LINE: Final = 256 << 20
_LONGEST_MANIFEST: Final = 16 << 20


class ArchiveReader:
    """An archive whose manifest is sound; ``verify`` tells whether the rest is."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._archive = archive

    def rows(self, part: Part, table: Table) -> Iterator[Row]:
        """Yield the rows of a table.

        Raises:
            Failure: a line is none.
        """
        return self._decoded(part, table, lambda line: None)

    def verify(self, part: Part, table: Table) -> None:
        """Read a whole table.

        Raises:
            Failure: it is not what was written.
        """
        said = self.manifest.services[part.name].tables[table.name]
        digest = hashlib.sha256()
        count = sum(1 for _ in self._decoded(part, table, digest.update))
        if count != said.rows:
            raise Failure(f"{self._name(part, table)} has {count} rows, but {said.rows} were written")
        if digest.hexdigest() != said.sha256:
            raise Failure(
                f"{self._name(part, table)} was altered: its SHA-256 is not that of what was written"
            )

    def _decoded(self, part: Part, table: Table, see: Callable[[bytes], object]) -> Iterator[Row]:
        for number, line in enumerate(self._lines(part, table), start=1):
            see(line)
            try:
                yield table.decode(line.decode().removesuffix("\n"))
            except (InvalidRow, UnicodeDecodeError) as error:
                raise Failure(f"{self._name(part, table)}, line {number}: {error}") from None

    def _lines(self, part: Part, table: Table) -> Iterator[bytes]:
        try:
            with self._archive.open(file_of(part.name, table.name)) as file:
                while line := file.readline(_LONGEST_LINE):
                    yield line
        except _BROKEN as error:
            raise Failure(f"{self._name(part, table)} cannot be read: {error}") from None

    def _name(self, part: Part, table: Table) -> str:
        return f"{self.path}: {file_of(part.name, table.name)}"


@contextmanager
def reading(path: Path, parts: Iterable[Part]) -> Iterator[ArchiveReader]:
    """Open an archive of these parts.

    Raises:
        Failure: it is none, is of another format or of another version of a schema, or lacks or has a file
            that it should not.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise Failure(f"there is no archive {path}") from None
    except _BROKEN as error:
        raise Failure(f"{path} is no archive, or a damaged one: {error}") from None
    with archive:
        manifest = _manifest(path, archive)
        _check(path, archive, manifest, {part.name: part for part in parts})
        yield ArchiveReader(path, archive, manifest)


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    try:
        with archive.open(MANIFEST) as file:
            content = file.read(_LONGEST_MANIFEST + 1)
        if len(content) > _LONGEST_MANIFEST:
            raise Failure(f"{path}: {MANIFEST} is longer than {_LONGEST_MANIFEST} bytes")
        manifest = Manifest.model_validate_json(content)
    except KeyError:
        raise Failure(f"{path} is no archive of Tact: it has no {MANIFEST}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Failure(f"{path}: {MANIFEST}: {place}: {first['msg']}") from None
    except _BROKEN as error:
        raise Failure(f"{path}: {MANIFEST} cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise Failure(f"{path} has format {manifest.format}, this version of Tact knows {FORMAT}")
    return manifest


def _check(path: Path, archive: zipfile.ZipFile, manifest: Manifest, parts: dict[str, Part]) -> None:
    """Hold the manifest to what the services know, and the files to the manifest."""
    expected = {MANIFEST}
    for name, service in manifest.services.items():
        if (part := parts.get(name)) is None:
            raise Failure(f"{path}: {MANIFEST}: there is no service {name}")
        if service.schema_version != (known := len(part.sqlite_migrations)):
            raise Failure(
                f"{path} holds {name} of schema version {service.schema_version}, this version of Tact knows "
                f"{known}: import it with Tact {manifest.tact_version}, start the services of this version "
                "on those stores, and export anew"
            )
        for other in service.tables.keys() ^ {table.name for table in part.tables}:
            is_unknown = other in service.tables
            raise Failure(
                f"{path}: {MANIFEST}: {name} {'has no' if is_unknown else 'lacks its'} table {other}"
            )
        expected |= {file_of(name, table) for table in service.tables}
    names = archive.namelist()
    for other in sorted(expected ^ set(names)):
        raise Failure(f"{path}: {other} {'is unknown' if other in names else 'is missing'}")
    if len(names) != len(expected):
        raise Failure(f"{path}: a file is there twice")
