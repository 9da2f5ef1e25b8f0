"""What is in use by versions: the current edition, and the last ones before it."""

from typing import Generic, TypeVar

T = TypeVar("T")

KEPT = 3


class Editions(Generic[T]):
    """Holds the edition in use and those before it, ``kept`` in all; what was in use longest ago goes first.

    Taking over is one step, so whoever asks once and keeps the answer works with one edition throughout.
    """

    def __init__(self, version: str, first: T, kept: int = KEPT) -> None:
        self._kept = kept
        self._held = {version: first}
        self.current = first

    @property
    def versions(self) -> tuple[str, ...]:
        """Return the versions held, the current one first."""
        return tuple(reversed(self._held))

    @property
    def held(self) -> tuple[T, ...]:
        """Return what is held, the current one first."""
        return tuple(reversed(self._held.values()))

    def get(self, version: str) -> T | None:
        """Return an edition, None where it is not held."""
        return self._held.get(version)

    def take(self, version: str, edition: T) -> None:
        """Put an edition into use."""
        self._held.pop(version, None)
        self._held[version] = self.current = edition
        if len(self._held) > self._kept:
            del self._held[next(iter(self._held))]
