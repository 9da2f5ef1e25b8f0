"""Attributes and their types: of profiles, events, contexts and actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from services.engine.playbook.kinds import Name, Reference, Section, Window, wrong_key

Provenance = Literal["owned", "copied", "borrowed", "displayed"]
UNHASHED = frozenset({"description", "provenance", "max_age", "consent"})
"""What a declaration says that does not change what a number made of the attribute means."""


class Described(Section):
    """Something whose name says most of it."""

    description: str = ""


class AttributeType(Section):
    """The type of an attribute.

    ``decimal`` needs ``scale``, the number of decimals kept: sums accumulate as integers of that
    scale. ``enum`` needs ``values``, whose order is the number that a feature makes of it.
    ``timestamp`` is an instant in RFC 3339. ``weights`` maps words to numbers and exists for actions
    only.
    """

    type: Literal["string", "enum", "integer", "number", "decimal", "boolean", "timestamp", "weights"]
    scale: int | None = Field(default=None, ge=0, le=9)
    values: tuple[str, ...] | None = Field(default=None, strict=False)
    description: str = ""

    @model_validator(mode="after")
    def _complete(self) -> AttributeType:
        if (self.type == "decimal") != (self.scale is not None):
            raise wrong_key("scale", '"scale" belongs to type decimal, which needs it')
        if (self.type == "enum") != (self.values is not None):
            raise wrong_key("values", '"values" belongs to type enum, which needs it')
        if self.values is not None and (not self.values or len(set(self.values)) != len(self.values)):
            raise wrong_key("values", '"values" must be distinct and at least one')
        return self


class ContextAttribute(AttributeType):
    """An attribute of the moment. A borrowed one feeds rules only and is never logged."""

    provenance: Literal["owned", "borrowed", "displayed"] = "owned"


class ProfileAttribute(AttributeType):
    """An attribute on file.

    ``owned`` and ``copied`` ones are kept, the latter with their source. A ``borrowed`` one is held
    in memory for ``max_age``, which it needs; it feeds rules, never features, and is neither stored
    nor logged. A ``displayed`` one is passed through to the answer and decides nothing.
    A value older than ``max_age`` is missing. ``consent`` names the purpose, of use ``data``,
    without whose consent the attribute is missing.
    """

    provenance: Provenance = "owned"
    max_age: Window | None = None
    consent: Reference | None = None

    @model_validator(mode="after")
    def _bounded(self) -> ProfileAttribute:
        if self.provenance == "borrowed" and self.max_age is None:
            raise wrong_key("provenance", 'a borrowed attribute needs "max_age"')
        return self


class ProfileFile(Section):
    """``profile.yaml``."""

    identities: Mapping[Name, Described] = {}
    attributes: Mapping[Name, ProfileAttribute] = {}


class EventType(Section):
    """One type of event. Without the ``consent`` it names, what rests on such events is missing."""

    description: str = ""
    consent: Reference | None = None
    attributes: Mapping[Name, AttributeType] = {}


class EventsFile(Section):
    """``events.yaml``."""

    events: Mapping[Name, EventType] = {}
