"""The names that expressions and texts of a playbook can read, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.engine.playbook import expressions
from services.engine.playbook.formulas import FEATURE
from services.engine.playbook.kinds import AnyFeature
from services.engine.playbook.schema.attributes import AttributeType, ProfileFile, Provenance
from services.engine.playbook.schema.catalogue import ActionsFile
from services.engine.playbook.schema.head import PlaybookFile

CONTEXT_FIELDS: Final = ("placement", "channel", "device", "intent", "conversation_id", "country", "region")
COORDINATES: Final = ("latitude", "longitude")
LOCAL_TIME: Final = ("hour", "weekday")
ACTION_FIELDS: Final = ("id", "group", "class", "purpose")
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "context": CONTEXT_FIELDS,
    "action": ACTION_FIELDS,
    "treatment": ("id", "channel"),
    "actor": ("id", "device"),
}
_CEL_TYPES: Final[Mapping[str, Any]] = {
    "string": expressions.STRING,
    "enum": expressions.STRING,
    "integer": expressions.INT,
    "number": expressions.DOUBLE,
    "decimal": expressions.DOUBLE,
    "boolean": expressions.BOOL,
    "timestamp": expressions.TIMESTAMP,
}


def variables(
    head: PlaybookFile, profile: ProfileFile, features: Mapping[str, AnyFeature], catalogue: ActionsFile
) -> dict[str, Any]:
    """Return the CEL type of each name; attributes of type weights have none."""
    found: dict[str, Any] = {
        f"{prefix}.{name}": expressions.STRING for prefix, names in _WORDS.items() for name in names
    }
    found |= {f"context.{name}": expressions.DOUBLE for name in COORDINATES}
    found |= {f"time.{name}": expressions.INT for name in LOCAL_TIME}
    found["time.now"] = expressions.TIMESTAMP
    found |= {FEATURE + name: expressions.DOUBLE for name in features}
    declared: Mapping[str, Mapping[str, AttributeType]] = {
        "profile": profile.attributes,
        "context": head.context,
        "action": catalogue.attributes,
    }
    for prefix, attributes in declared.items():
        for name, attribute in attributes.items():
            if attribute.type in _CEL_TYPES:
                found[f"{prefix}.{name}"] = _CEL_TYPES[attribute.type]
    return found


def of_provenance(head: PlaybookFile, profile: ProfileFile, provenance: Provenance) -> frozenset[str]:
    """Return the names of that provenance, of the profile and the context."""
    on_file = {f"profile.{n}" for n, a in profile.attributes.items() if a.provenance == provenance}
    of_moment = {f"context.{n}" for n, a in head.context.items() if a.provenance == provenance}
    return frozenset(on_file | of_moment)
