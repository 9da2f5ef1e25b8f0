"""What the number of a feature depends on: a model may use it as long as that stays the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from services.engine.playbook import kinds
from services.engine.playbook.expressions import Formula
from services.engine.playbook.formulas import inputs
from services.engine.playbook.schema.attributes import UNHASHED, AttributeType, EventsFile, ProfileFile
from services.engine.playbook.schema.catalogue import ActionsFile
from services.engine.playbook.schema.head import PlaybookFile

_Input = tuple[Mapping[str, AttributeType], str, Collection[str]]


class Meanings(NamedTuple):
    """The declarations that features rest on."""

    profile: ProfileFile
    head: PlaybookFile
    events: EventsFile
    catalogue: ActionsFile

    def hashes(
        self, features: Mapping[str, kinds.AnyFeature], formulas: Mapping[str, Formula]
    ) -> Mapping[str, str]:
        """Hash what each feature means; an expression means also what it reads, through any others."""
        meanings = {name: self._meaning(definition) for name, definition in features.items()}
        hashes = {name: digest(meaning)[:16] for name, meaning in meanings.items()}
        for name, formula in formulas.items():
            read = {feature: hashes[feature] for feature in inputs(formula)}
            hashes[name] = digest({**meanings[name], "features": read})[:16]
        return hashes

    def _meaning(self, definition: kinds.AnyFeature) -> dict[str, Any]:
        """Return all that the number of a feature depends on, other features left out."""
        found = [
            attributes[attribute].model_dump(mode="json", exclude={*UNHASHED, *ignored})
            for attributes, attribute, ignored in self._inputs(definition)
            if attribute in attributes
        ]
        return {"definition": definition.model_dump(mode="json", exclude={"description"}), "inputs": found}

    def _inputs(self, definition: kinds.AnyFeature) -> Iterator[_Input]:
        """Yield the declared attributes that a feature rests on, and what of each it does not rest on.

        Words that are only compared may be joined by others without changing any number.
        """
        if isinstance(definition, kinds.ProfileFeature):
            yield self.profile.attributes, definition.attribute, ()
        elif isinstance(definition, kinds.ContextFeature):
            yield self.head.context, definition.attribute, ()
        elif isinstance(definition, kinds.ActionFeature):
            yield self.catalogue.attributes, definition.attribute, ()
        elif isinstance(definition, kinds.EventDefinition):
            attributes = self.events.events[definition.event].attributes
            for name in sorted(definition.where):
                yield attributes, name, ("values",)
            if isinstance(definition, kinds.Affinity):
                yield attributes, definition.by, ("values",)
                yield self.catalogue.attributes, definition.to, ("values",)
            if (attribute := getattr(definition, "attribute", None)) is not None:
                yield attributes, attribute, ("values",) if isinstance(definition, kinds.Distinct) else ()


def digest(data: object) -> str:
    """Hash data of JSON, whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
