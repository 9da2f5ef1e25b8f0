"""YAML with positions: every value of a parsed file knows the line that it came from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from services.engine.playbook.errors import PlaybookError, Problem

try:
    from yaml import CSafeLoader as _FastestLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _FastestLoader  # type: ignore[assignment]

Path = tuple[str | int, ...]

# YAML 1.2 core scalars. PyYAML's own resolver follows YAML 1.1, where `no` is false and `1:30` is 90.
_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One parsed file: plain data, and for each path in it the line of its key or item.

    ``spans`` are the first and last lines of texts that do not stand on the line of their key.
    """

    file: str
    data: Any
    lines: dict[Path, int]
    spans: dict[Path, tuple[int, int]] = field(default_factory=dict)
    rows: Sequence[str] = ()

    def line(self, path: Sequence[str | int]) -> int:
        """Return the line of the nearest place; steps of ``path`` that the file lacks are skipped."""
        place: Path = ()
        for step in path:
            if (*place, step) in self.lines:
                place = (*place, step)
        return self.lines.get(place, 1)

    def problem(self, path: Sequence[str | int], message: str, word: str = "") -> Problem:
        """Locate a message; ``word`` is what it is about in a text of several lines."""
        span = self.spans.get(tuple(path))
        line = self.line(path) if span is None else self._line_of(word, span)
        return Problem(file=self.file, line=line, message=message)

    def _line_of(self, word: str, span: tuple[int, int]) -> int:
        whole = re.compile(rf"(?<![\w.]){re.escape(word)}(?![\w.])")
        rows = enumerate(self.rows[span[0] - 1 : span[1]], start=span[0])
        return next((line for line, row in rows if word and whole.search(row)), span[0])


def read(path: FilePath, file: str) -> Document:
    """Parse one YAML 1.2 file; an empty one is an empty mapping.

    Raises:
        PlaybookError: the file is missing, is no UTF-8, no YAML, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PlaybookError([Problem(file=file, line=1, message="the file is missing")]) from None
    except UnicodeDecodeError as error:
        message = f"the file is not UTF-8 (byte {error.start})"
        raise PlaybookError([Problem(file=file, line=1, message=message)]) from None
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}"
        raise PlaybookError([Problem(file=file, line=1, message=message)]) from None
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        message = f"no valid YAML: {' '.join(filter(None, (error.context, error.problem)))}"
        raise PlaybookError([Problem(file=file, line=line, message=message)]) from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        message = f"no valid YAML: {error.reason}"
        raise PlaybookError([Problem(file=file, line=line, message=message)]) from None
    except yaml.YAMLError as error:
        raise PlaybookError([Problem(file=file, line=1, message=f"no valid YAML: {error}")]) from None
    reader = _Reader(file, most_nodes=max(len(text), _MOST_NODES))
    data = {} if node is None else reader.value(node, ())
    if reader.problems:
        raise PlaybookError(reader.problems)
    return Document(file=file, data=data, lines=reader.lines, spans=reader.spans, rows=text.splitlines())


# Without aliases a file has fewer nodes than characters.
_MOST_NODES = 100_000
_DEEPEST = 64


class _Loader(_FastestLoader):
    """Composes nodes whose tag is empty unless the file writes one; refuses what nests too deep."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def resolve(self, kind: object, value: object, implicit: object) -> str:
        return ""

    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            # The composer recurses in C, where too deep means the end of the process.
            mark = parent.start_mark if parent else None
            raise yaml.MarkedYAMLError(problem=f"more than {_DEEPEST} levels deep", problem_mark=mark)

    def ascend_resolver(self) -> None:
        self._depth -= 1


class _Reader:
    def __init__(self, file: str, most_nodes: int) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.spans: dict[Path, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._nodes_left = most_nodes

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes_left -= 1
        if self._nodes_left < 0 or len(path) > _DEEPEST:
            self._report(node, "the file grows too large or too deep by its aliases")
            raise PlaybookError(self.problems)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._report(node, f"the tag {tag} is refused: write the value itself")
        if isinstance(node, yaml.ScalarNode):
            first, last = node.start_mark.line + 1, node.end_mark.line + 1
            if (first, last) != (self.lines[path], first):
                self.spans[path] = first, last
            return node.value if node.style else _scalar(node.value)
        if id(node) in self._open:
            self._report(node, "an alias contains itself")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, child in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(key_node, "a key must be a plain word")
                continue
            key = key_node.value
            if key in found:
                self._report(key_node, f'the key "{key}" stands twice')
                continue
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            found[key] = self.value(child, (*path, key))
        return found

    def _report(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(file=self.file, line=node.start_mark.line + 1, message=message))


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text
