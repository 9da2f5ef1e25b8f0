"""What the scoring service needs of the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from services.scoring.domain.model import Booster


class RegistryUnavailable(Exception):
    """The registry cannot be asked, or gives no files; the message says why. Asking again may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReference:
    """One registered version of a model; equal references hold equal files."""

    name: str
    version: str
    run_id: str
    source: str


class ModelRegistry(Protocol):
    """Knows which model version is the champion. Every method raises ``RegistryUnavailable``."""

    async def champion(self) -> ModelReference | None:
        """Return the version to serve, None where none was chosen yet."""
        ...

    async def fetch(self, reference: ModelReference) -> Mapping[str, bytes]:
        """Return the files of a version's bundle by name, without those that do not exist."""
        ...


LoadBooster = Callable[[str], Booster]
"""Makes a booster from LightGBM's model text, or raises ``BundleRefused``."""
