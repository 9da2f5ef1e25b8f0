"""A small JSON Schema validator: the keywords of draft 2020-12 that our schemas use, and no others."""

import re

TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: is_number(value) and value == int(value),
    "number": lambda value: is_number(value),
    "null": lambda value: value is None,
}
SAY_NOTHING = {"$schema", "$defs", "title", "description", "default"}


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_valid(schema, value, root=None):
    """Tell whether a value is as a schema says; a keyword that is not known here is an error."""
    if isinstance(schema, bool):
        return schema
    root = root or schema
    return all(
        KEYWORDS[key](given, value, schema, root) for key, given in schema.items() if key not in SAY_NOTHING
    )


def of(kind, check):
    """Make a keyword that says something of one type only."""
    return lambda given, value, schema, root: not TYPES[kind](value) or check(given, value)


def properties(given, value, schema, root):
    return not isinstance(value, dict) or all(
        is_valid(inner, value[name], root) for name, inner in given.items() if name in value
    )


def pattern_properties(given, value, schema, root):
    return not isinstance(value, dict) or all(
        is_valid(inner, each, root)
        for pattern, inner in given.items()
        for name, each in value.items()
        if re.search(pattern, name)
    )


def additional_properties(given, value, schema, root):
    if not isinstance(value, dict):
        return True
    patterns = schema.get("patternProperties", ())
    others = [
        each
        for name, each in value.items()
        if name not in schema.get("properties", ()) and not any(re.search(one, name) for one in patterns)
    ]
    return all(is_valid(given, each, root) for each in others)


def reference(given, value, schema, root):
    start, section, name = given.split("/")
    assert (start, section) == ("#", "$defs")
    return is_valid(root["$defs"][name], value, root)


KEYWORDS = {
    "$ref": reference,
    "type": lambda given, value, *_: any(
        TYPES[one](value) for one in ([given] if isinstance(given, str) else given)
    ),
    "enum": lambda given, value, *_: value in given,
    "const": lambda given, value, *_: value == given and type(value) is type(given),
    "anyOf": lambda given, value, schema, root: any(is_valid(one, value, root) for one in given),
    "oneOf": lambda given, value, schema, root: sum(is_valid(one, value, root) for one in given) == 1,
    "pattern": of("string", lambda given, value: re.search(given, value) is not None),
    "minLength": of("string", lambda given, value: len(value) >= given),
    "maxLength": of("string", lambda given, value: len(value) <= given),
    "minimum": of("number", lambda given, value: value >= given),
    "maximum": of("number", lambda given, value: value <= given),
    "exclusiveMinimum": of("number", lambda given, value: value > given),
    "exclusiveMaximum": of("number", lambda given, value: value < given),
    "minItems": of("array", lambda given, value: len(value) >= given),
    "items": lambda given, value, schema, root: (
        not isinstance(value, list) or all(is_valid(given, each, root) for each in value)
    ),
    "minProperties": of("object", lambda given, value: len(value) >= given),
    "required": of("object", lambda given, value: set(given) <= value.keys()),
    "properties": properties,
    "patternProperties": pattern_properties,
    "additionalProperties": additional_properties,
    "propertyNames": lambda given, value, schema, root: (
        not isinstance(value, dict) or all(is_valid(given, name, root) for name in value)
    ),
}
