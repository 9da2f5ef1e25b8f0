"""Time zones in which a recipient may be: one where it is known, all of a country where only that is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal
from zoneinfo import ZoneInfo

from services.engine.instants import local_time, zone

Source = Literal["request", "profile", "country", "playbook", "actor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Zones:
    """The zones that a recipient may be in, at least one, and what told them."""

    zones: tuple[ZoneInfo, ...]
    source: Source

    def __post_init__(self) -> None:
        if not self.zones:
            raise ValueError("a recipient is in one zone at least")

    def local_time(self, at: datetime) -> dict[str, int]:
        """Return the local ``hour`` and ``weekday``, each only where the zones agree on it."""
        return local_time(at.astimezone(zone) for zone in self.zones)


@lru_cache(maxsize=512)
def zones_of_country(code: str) -> tuple[ZoneInfo, ...]:
    """Return the zones of a country by its ISO 3166 code of two capitals, none for any other text.

    >>> [zone.key for zone in zones_of_country("DE")]
    ['Europe/Berlin', 'Europe/Busingen']
    """
    return tuple(zone(name) for name in _countries().get(code, ()))


@cache
def _countries() -> Mapping[str, tuple[str, ...]]:
    """Read the table of the pinned ``tzdata``: country, coordinates, name of the zone, comments."""
    table = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    names: defaultdict[str, list[str]] = defaultdict(list)
    for line in table.splitlines():
        if not line.startswith("#"):
            country, _, name, *_ = line.split("\t")
            names[country].append(name)
    return {country: tuple(found) for country, found in names.items()}
