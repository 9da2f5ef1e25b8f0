"""A bar that shows how far a command has come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def _show_nothing() -> None:
    return None


@contextmanager
def shown(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Yield what to call after each of ``total`` steps.

    Nothing is shown where standard error is no terminal, or where what draws bars is not installed.
    """
    if not sys.stderr.isatty():
        yield _show_nothing
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield _show_nothing
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
