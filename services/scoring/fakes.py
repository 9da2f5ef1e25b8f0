"""A registry for tests."""

from __future__ import annotations

from collections.abc import Mapping

from services.scoring.ports import ModelReference, RegistryUnavailable


class InMemoryRegistry:
    """Implements ``ModelRegistry``; unavailable while ``failure`` is set."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self.fetched: list[ModelReference] = []
        self._files: dict[ModelReference, Mapping[str, bytes]] = {}
        self._champion: ModelReference | None = None

    def promote(self, version: str, files: Mapping[str, bytes]) -> ModelReference:
        """Register a version and make it the champion."""
        reference = ModelReference(
            name="tact-test", version=version, run_id=f"run-{version}", source=f"memory:{version}"
        )
        self._files[reference] = files
        self._champion = reference
        return reference

    async def champion(self) -> ModelReference | None:
        """Return the version promoted last."""
        self._fail()
        return self._champion

    async def fetch(self, reference: ModelReference) -> Mapping[str, bytes]:
        """Return the files it was registered with."""
        self._fail()
        self.fetched.append(reference)
        return self._files[reference]

    def _fail(self) -> None:
        if self.failure is not None:
            raise RegistryUnavailable(self.failure)
