"""Reads the cases of a playbook, or lists everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from services.cli.cases.references import Checker
from services.cli.cases.schema import CasesFile
from services.cli.cases.situations import Case, Situation, world_of
from services.engine.playbook import source
from services.engine.playbook.errors import PlaybookError, Problem
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.shapes import located

FOLDER = "cases"


def read(folder: Path, playbook: Playbook) -> tuple[Situation, ...]:
    """Read every file of ``cases/`` in ``folder``, by name; none where there is no such folder.

    Raises:
        PlaybookError: a shape is wrong, a name is unknown, a value is of the wrong type, or two cases
            are alike; each problem names file and line.
    """
    problems: list[Problem] = []
    situations: list[Situation] = []
    numbered = 0
    for path in sorted((folder / FOLDER).glob("*.y*ml")):
        try:
            situations.append(_situation(path, playbook, numbered))
            numbered += len(situations[-1].cases)
        except PlaybookError as error:
            problems.extend(error.problems)
    problems.extend(_alike(situations))
    if problems:
        raise PlaybookError(problems)
    return tuple(situations)


def _situation(path: Path, playbook: Playbook, numbered: int) -> Situation:
    name = f"{FOLDER}/{path.name}"
    if path.suffix != ".yaml":
        raise PlaybookError([Problem(file=name, line=1, message='a file of cases ends in ".yaml"')])
    document = source.read(path, name)
    try:
        shape = CasesFile.model_validate(document.data)
    except ValidationError as error:
        raise PlaybookError(located(document, error)) from None
    checker = Checker(playbook=playbook, document=document)
    checker.world(shape.world, ("world",), shape.now)
    cases = tuple(_cases(shape, checker, numbered))
    if checker.problems:
        raise PlaybookError(checker.problems)
    return Situation(title=shape.situation, cases=cases)


def _cases(shape: CasesFile, checker: Checker, numbered: int) -> Iterator[Case]:
    for index, one in enumerate(shape.cases):
        path = ("cases", index)
        case = Case(
            number=numbered + index,
            file=checker.document.file,
            line=checker.document.line(path),
            situation=shape.situation,
            name=one.name,
            near_miss=one.near_miss,
            now=one.now or shape.now,
            world=world_of(shape.world, one.world),
            request=one.request,
            expect=one.expect,
            then=one.then,
        )
        checker.world(one.world, (*path, "world"), case.now)
        checker.case(case, one, shape.world, path)
        yield case


def _alike(situations: Sequence[Situation]) -> Iterator[Problem]:
    """Find situations of one title, cases of one name in a file, and cases of the same content."""
    yield from _repeated("situation", ((found.title, found.cases[0].file, 1) for found in situations))
    seen: list[Case] = []
    for situation in situations:
        yield from _repeated("case", ((case.name, case.file, case.line) for case in situation.cases))
        for case in situation.cases:
            twin = next((other for other in seen if other.content == case.content), None)
            if twin is not None:
                yield Problem(file=case.file, line=case.line, message=f"the same case as {twin}")
            seen.append(case)


def _repeated(what: str, named: Iterable[tuple[str, str, int]]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for name, file, line in named:
        if name in first:
            message = f'a {what} "{name}" stands at {first[name]} already'
            yield Problem(file=file, line=line, message=message)
        first.setdefault(name, f"{file}:{line}")
