"""Says what is wrong with the shape of a file, in the words of its author."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from services.engine.playbook.errors import Problem, did_you_mean
from services.engine.playbook.source import Document

_KEY: Final = "[key]"
_PLAIN: Final[Mapping[str, str]] = {
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a mapping"),
    "tuple_type": "must be a list",
    "string_type": "must be text, in quotes where it looks like a number, true, false or null",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
}
_QUOTED = re.compile(r"'([^']*)'")


def located(document: Document, error: ValidationError) -> list[Problem]:
    """Turn what pydantic found into problems with lines, and the nearest right word where one is unknown."""
    return [problem for item in error.errors() for problem in _problems(document, item)]


def _problems(document: Document, item: Mapping[str, Any]) -> Iterator[Problem]:
    path = _path(document.data, item["loc"])
    if item["type"] == "unknown_keys":
        for key, suggestion in item["ctx"]["unknown"].items():
            yield document.problem((*path, key), f'unknown key "{key}"{suggestion}')
    elif item["type"] == "wrong_key":
        yield document.problem((*path, item["ctx"]["key"]), item["msg"])
    elif item["type"] == "union_tag_not_found":
        yield _untold(document, item, path)
    elif item["type"] == "union_tag_invalid":
        context, kind = item["ctx"], item["ctx"]["discriminator"].strip("'")
        message = f'unknown {kind} "{context["tag"]}"' + _suggestion(context["tag"], context["expected_tags"])
        yield document.problem((*path, kind), message)
    else:
        yield document.problem(path, _message(item, path))


def _untold(document: Document, item: Mapping[str, Any], path: tuple[str | int, ...]) -> Problem:
    """Say that nothing tells of which kind something is, or which of its keys was meant to."""
    wanted = item["ctx"]["discriminator"].strip("'")
    # Keys that are right, such as "window", resemble "kind" a little.
    if meant := difflib.get_close_matches(wanted, item["input"], n=1, cutoff=0.7):
        message = f'unknown key "{meant[0]}"{did_you_mean(meant[0], [wanted])}'
        return document.problem((*path, meant[0]), message)
    return document.problem(path, f'"{wanted}" is missing')


def _path(data: Any, location: Sequence[str | int]) -> tuple[str | int, ...]:
    """Leave out the steps that pydantic adds: the kind of what can be of several kinds."""
    path: list[str | int] = []
    is_kind_told = False
    for step in location:
        if not is_kind_told and isinstance(data, Mapping) and step in (data.get("kind"), data.get("method")):
            is_kind_told = True
            continue
        path.append(step)
        data = _inside(data, step)
    return tuple(path)


def _inside(data: Any, step: str | int) -> Any:
    if isinstance(data, Mapping):
        return data.get(step)
    return data[step] if isinstance(data, list) and isinstance(step, int) and step < len(data) else None


def _message(item: Mapping[str, Any], path: Sequence[str | int]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "missing":
        return f'"{path[-1]}" is missing'
    message = _PLAIN.get(kind) or item["msg"].removeprefix("Value error, ")
    if kind == "bool_type" and isinstance(item["input"], str):
        message += did_you_mean(item["input"], ("true", "false"))
    if kind == "too_short":
        message = f"must have at least {context['min_length']}"
    if kind == "literal_error":
        message = _unknown_word(item["input"], context["expected"])
    names = [step for step in path if isinstance(step, str)]
    return f"{names[-1]}: {message}" if names and path[-1] != _KEY else message


def _unknown_word(found: object, expected: str) -> str:
    if isinstance(found, str):
        return f'"{found}" is unknown{_suggestion(found, expected)}'
    return f"must be one of {', '.join(_QUOTED.findall(expected))}"


def _suggestion(found: str, expected: str) -> str:
    known = _QUOTED.findall(expected)
    return did_you_mean(found, known) or f"; known: {', '.join(known)}"
