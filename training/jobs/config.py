"""Job configurations from YAML, whose mistakes are named with file and line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from training.configuration import Configuration
from training.refusal import Refused

NO_OVERRIDES: Mapping[str, Any] = MappingProxyType({})
Config = TypeVar("Config", bound=Configuration)
Location = tuple[int | str, ...]


def load_config(path: Path, cls: type[Config], overrides: Mapping[str, Any] = NO_OVERRIDES) -> Config:
    """Read a configuration; ``overrides`` replace values by dotted name, such as ``lightgbm.seed``.

    Raises:
        Refused: the file cannot be read, or a key is unknown, repeated, missing or has a value
            that cannot be; every mistake is listed with its line.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        lines = _lines(root, path) if root else {}
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise Refused(f"{path}: must hold keys and values")
    for name, value in overrides.items():
        _override(content, name.split("."), value)
    try:
        return cls.model_validate(content)
    except ValidationError as error:
        raise Refused("\n".join(_describe(path, cls, lines, dict(item)) for item in error.errors())) from None


def _override(content: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        content = content.setdefault(key, {})
        if not isinstance(content, dict):
            raise Refused(f"{'.'.join(keys)}: {key} holds no keys")
    content[keys[-1]] = value


def _lines(node: yaml.Node, path: Path, location: Location = ()) -> dict[Location, int]:
    lines = {location: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*location, key.value)
            if inner in lines:
                raise Refused(f"{path}:{key.start_mark.line + 1}: {_dotted(inner)} is given twice")
            lines |= _lines(value, path, inner) | {inner: key.start_mark.line + 1}
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines |= _lines(value, path, (*location, index))
    return lines


def _describe(
    path: Path, cls: type[BaseModel], lines: Mapping[Location, int], error: Mapping[str, Any]
) -> str:
    location: Location = error["loc"]
    outward = (location[:end] for end in range(len(location), 0, -1))
    line = next((lines[inner] for inner in outward if inner in lines), None)
    place = f"{path}:{line}" if line else str(path)
    if error["type"] != "extra_forbidden":
        return f"{place}: {_dotted(location) or 'configuration'}: {error['msg']}"
    near = difflib.get_close_matches(str(location[-1]), _keys(cls, location[:-1]), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{place}: unknown key {_dotted(location)}{hint}"


def _keys(cls: type[BaseModel], location: Location) -> list[str]:
    for key in location:
        field = cls.model_fields.get(str(key))
        types = (field.annotation, *get_args(field.annotation)) if field else ()
        inner = [kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return []
        cls = inner[0]
    return list(cls.model_fields)


def _dotted(location: Location) -> str:
    return ".".join(map(str, location))
