"""``tact playbook check``: lists what is wrong with playbooks, and what is worth knowing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from services.cli.cases.reading import read
from services.engine.playbook import source
from services.engine.playbook.analysis import analyse
from services.engine.playbook.errors import PlaybookError, Problem
from services.engine.playbook.findings import Finding
from services.engine.playbook.loader import load
from services.engine.playbook.playbook import Playbook


def check(folders: Iterable[Path]) -> int:
    """Print the problems of each folder, else its notes and what is in it; 1 if any has a problem."""
    return max([_check(folder, datetime.now(UTC)) for folder in folders])


def problems_of(folder: Path, now: datetime) -> list[Problem]:
    """Return what is wrong with a playbook, cases aside.

    Raises:
        PlaybookError: it does not load.
    """
    return sorted(_located(folder, analyse(load(folder), now))[0])


def _check(folder: Path, now: datetime) -> int:
    try:
        playbook = load(folder)
        problems, notes = _located(folder, analyse(playbook, now))
        cases = _cases(folder, playbook, problems)
    except PlaybookError as error:
        problems, notes = list(error.problems), []
    for problem in sorted(problems):
        sys.stderr.write(f"{folder}/{problem}\n")
    for note in sorted(notes):
        sys.stdout.write(f"{folder}/{note.file}:{note.line}: note: {note.message}\n")
    if problems:
        return 1
    sys.stdout.write(
        f"{folder}: {len(playbook.actions)} actions, {len(playbook.features)} features, "
        f"{len(playbook.rules.rules)} rules, {cases} cases, "
        f"version {playbook.version[:12]}\n"
    )
    return 0


def _cases(folder: Path, playbook: Playbook, problems: list[Problem]) -> int:
    """Count the cases; what is wrong with them goes to ``problems``."""
    try:
        return sum(len(situation.cases) for situation in read(folder, playbook))
    except PlaybookError as error:
        problems.extend(error.problems)
        return 0


def _located(folder: Path, findings: Iterable[Finding]) -> tuple[list[Problem], list[Problem]]:
    """Return problems and notes, each with its line."""
    documents: dict[str, source.Document] = {}
    located: tuple[list[Problem], list[Problem]] = ([], [])
    for finding in findings:
        file = finding.file
        document = documents.get(file) or documents.setdefault(file, source.read(folder / file, file))
        place = document.problem(finding.path, finding.message, finding.word)
        located[not finding.is_problem].append(place)
    return located
