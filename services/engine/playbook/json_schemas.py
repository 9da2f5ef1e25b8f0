"""A JSON Schema for each file of a playbook, so that an editor knows its keys and describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema

from services.engine.playbook.loader import FILES

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_LIMITS: Final = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
_LEFT_OUT: Final = frozenset({"title", "discriminator"})
_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")

Schema = dict[str, Any]


class _AsDeclared(GenerateJsonSchema):
    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        return value


def json_schemas() -> Mapping[str, Schema]:
    """Return the schemas in draft 2020-12 by the name of their file, such as ``actions.schema.json``.

    They know the keys and the shape of values; names that refer to another file, expressions and what
    keys say together are left to ``tact playbook check``.
    """
    return {
        f"{name.removesuffix('.yaml')}.schema.json": {
            "$schema": DIALECT,
            "title": f"{name} of a playbook",
            **_plain(model.model_json_schema(schema_generator=_AsDeclared)),
        }
        for name, model in FILES.items()
    }


def _plain(schema: Schema) -> Schema:
    """Keep what the dialect knows; a mapping whose names have a pattern takes no others."""
    found = {
        _LIMITS.get(key, key): _part(key, value) for key, value in schema.items() if _is_kept(key, value)
    }
    if "patternProperties" in found:
        found["additionalProperties"] = False
        found.pop("propertyNames", None)
    return found


def _is_kept(key: str, value: Any) -> bool:
    says_nothing = key == "default" and (value in (None, "", []) or isinstance(value, dict))
    return key not in _LEFT_OUT and not says_nothing


def _part(key: str, value: Any) -> Any:
    if key in ("properties", "patternProperties", "$defs"):
        return {name: _plain(inner) for name, inner in value.items()}
    if key in ("anyOf", "oneOf"):
        return [_plain(inner) for inner in value]
    if key == "description":
        return _LINE_BREAK.sub(" ", value.replace("``", "`"))
    return _plain(value) if isinstance(value, dict) else value
