"""Folders that hold certain files; needs no library of training."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path


def folders_with(names: Collection[str], *roots: Path) -> Iterator[Path]:
    """Yield every folder at or below the roots that holds a file of these names, resolved and once.

    Symbolic links are followed; a root that is not there has none.

    Raises:
        OSError: a folder cannot be read, so that nobody knows what is in it.
    """
    seen: set[Path] = set()
    for root in roots:
        for place, below, files in os.walk(root, onerror=_refuse, followlinks=True):
            folder = Path(place).resolve()
            if folder in seen:
                # Whoever came here first goes through what is below.
                below.clear()
                continue
            seen.add(folder)
            if any(name in files for name in names):
                yield folder


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
