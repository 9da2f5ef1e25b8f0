"""Progress bars, and the memory of finished steps."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


def bar(console: Console) -> Progress:
    """Return a progress display; call it as a context manager."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


class Steps:
    """Remembers which step was finished for which inputs."""

    def __init__(self, path: Path, *, forget: bool) -> None:
        self._path = path
        self._done: dict[str, list[str]] = {}
        if path.exists() and not forget:
            # What cannot be read was not finished: the steps are done again.
            with suppress(ValueError):
                self._done = json.loads(path.read_text())

    def result(self, step: str, key: str) -> str | None:
        """Return what a step gave for these inputs, None where it is still to do."""
        known = self._done.get(step)
        return known[1] if known and known[0] == key else None

    def finish(self, step: str, key: str, result: str) -> None:
        """Remember a step."""
        self._done[step] = [key, result]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self._done))
        fresh.replace(self._path)
