"""What an archive says of itself, in its ``manifest.json``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"


class ArchivedTable(BaseModel):
    """How many rows a table has, and the SHA-256 of its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ArchivedService(BaseModel):
    """The tables of one service's store, in an order in which they can be put back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(ge=0)
    tables: Mapping[str, ArchivedTable]


class Manifest(BaseModel):
    """``made_time`` is from before the first row was read; ``customers`` None means all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    made_time: AwareDatetime
    tact_version: str = Field(default_factory=lambda: version("tact-nba"))
    customers: tuple[str, ...] | None
    services: Mapping[str, ArchivedService]


def file_of(service: str, table: str) -> str:
    """Return the name of a table's file in the archive."""
    return f"{service}/{table}.jsonl"
