"""Checks what a playbook's files say of each other, and compiles its rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.engine.playbook import expressions, formulas, kinds, values
from services.engine.playbook.errors import PlaybookError, Problem, did_you_mean
from services.engine.playbook.expressions import Environment, ExpressionError, Formula
from services.engine.playbook.playbook import DO_NOTHING, STAGES, CompiledRule
from services.engine.playbook.schema import (
    ActionsFile,
    AttributeType,
    EventsFile,
    PlaybookFile,
    PoliciesFile,
    ProfileFile,
    Rule,
)
from services.engine.playbook.source import Document, Path

CONTEXT_FIELDS: Final = ("placement", "channel", "device", "intent")
LOCAL_TIME: Final = ("hour", "weekday")
ACTION_FIELDS: Final = ("id", "group", "class", "purpose")

_CEL_TYPES: Final[Mapping[str, Any]] = {
    "string": expressions.STRING,
    "enum": expressions.STRING,
    "integer": expressions.INT,
    "number": expressions.DOUBLE,
    "decimal": expressions.DOUBLE,
    "boolean": expressions.BOOL,
}
_SUMMING = kinds.Sum | kinds.Mean | kinds.Rate | kinds.Decayed | kinds.Affinity
_SUMMABLE = ("integer", "decimal")
_ORDERED = (*_SUMMABLE, "number")
_WORDS = ("string", "enum")
_NUMERIC = ("integer", "decimal", "number", "boolean", "enum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What a playbook computes: ``formulas`` in the order in which they follow from each other."""

    environment: Environment
    formulas: Mapping[str, Formula]
    candidate_features: frozenset[str]
    rules: tuple[CompiledRule, ...]


@dataclass(kw_only=True)
class Checker:
    """One pass over parsed files; ``check`` reports every problem at once."""

    head: PlaybookFile
    profile: ProfileFile
    events: EventsFile
    features: Mapping[str, kinds.AnyFeature]
    catalogue: ActionsFile
    policies: PoliciesFile
    documents: Mapping[str, Document]
    problems: list[Problem] = field(default_factory=list)

    def check(self) -> Compiled:
        """Return the environment of all expressions and what compiles in it.

        Raises:
            PlaybookError: a name is unknown, a type does not fit, an expression does not compile, or
                features are computed from each other in a circle.
        """
        self._attribute_types()
        for name in self.features:
            self._feature(name)
        self._groups()
        for action_id in self.catalogue.actions:
            self._action(action_id)
        environment = Environment(self._variables())
        found = formulas.compile_formulas(self.features, environment, self._formula_problem)
        candidates = formulas.candidates(self.features, found)
        rules = tuple(self._rules(environment, candidates))
        if self.problems:
            raise PlaybookError(self.problems)
        return Compiled(environment=environment, formulas=found, candidate_features=candidates, rules=rules)

    def meaning(self, name: str) -> dict[str, Any]:
        """Return all that the number of a feature depends on, other features left out."""
        definition = self.features[name]
        inputs = [
            attributes[attribute].model_dump(mode="json", exclude={"description", *ignored})
            for attributes, attribute, ignored in _inputs(definition, self)
            if attribute in attributes
        ]
        return {"definition": definition.model_dump(mode="json", exclude={"description"}), "inputs": inputs}

    def _report(self, file: str, path: Path, message: str) -> None:
        self.problems.append(self.documents[file].problem(path, message))

    def _formula_problem(self, name: str, message: str) -> None:
        self._report("features.yaml", ("features", name, "expression"), f'feature "{name}": {message}')

    def _known(self, file: str, path: Path, what: str, name: str, known: Iterable[str]) -> bool:
        if name in (names := list(known)):
            return True
        self._report(file, path, f'unknown {what} "{name}"' + did_you_mean(name, names))
        return False

    def _attribute_types(self) -> None:
        places: list[tuple[str, Path, Mapping[str, AttributeType]]] = [
            ("playbook.yaml", ("context",), self.head.context),
            ("profile.yaml", ("attributes",), self.profile.attributes),
        ]
        for name, event in self.events.events.items():
            places.append(("events.yaml", ("events", name, "attributes"), event.attributes))
        for file, path, attributes in places:
            for name, declared in attributes.items():
                if declared.type == "weights":
                    self._report(file, (*path, name, "type"), "type weights is for action attributes only")
        for reserved, file, section, names in (
            (CONTEXT_FIELDS, "playbook.yaml", "context", self.head.context),
            (ACTION_FIELDS, "actions.yaml", "attributes", self.catalogue.attributes),
        ):
            for name in names:
                if name in (*reserved, *LOCAL_TIME):
                    self._report(file, (section, name), f'"{name}" is a name that Tact uses itself')

    def _feature(self, name: str) -> None:
        definition, path = self.features[name], ("features", name)
        if isinstance(definition, kinds.EventDefinition):
            self._event_feature(definition, path)
        elif isinstance(definition, kinds.ProfileFeature):
            self._attribute(path, "attribute", definition.attribute, self.profile.attributes, _NUMERIC)
        elif isinstance(definition, kinds.ActionFeature):
            self._attribute(path, "attribute", definition.attribute, self.catalogue.attributes, _NUMERIC)
        elif isinstance(definition, kinds.ContextFeature) and definition.attribute not in LOCAL_TIME:
            known = {**self.head.context, **dict.fromkeys(LOCAL_TIME, AttributeType(type="integer"))}
            self._attribute(path, "attribute", definition.attribute, known, _NUMERIC)

    def _event_feature(self, definition: kinds.EventDefinition, path: Path) -> None:
        if not self._known("features.yaml", (*path, "event"), "event", definition.event, self.events.events):
            return
        attributes = self.events.events[definition.event].attributes
        for name, wanted in definition.where.items():
            place = (*path, "where", name)
            if self._attribute(path, "where", name, attributes, (*_WORDS, "integer", "boolean"), place):
                try:
                    values.parse(attributes[name], wanted)
                except ValueError as error:
                    self._report("features.yaml", place, f"{name}: {error}")
        if isinstance(definition, _SUMMING) and definition.attribute is not None:
            self._attribute(path, "attribute", definition.attribute, attributes, _SUMMABLE)
        if isinstance(definition, kinds.Min | kinds.Max):
            self._attribute(path, "attribute", definition.attribute, attributes, _ORDERED)
        elif isinstance(definition, kinds.First | kinds.Last):
            self._attribute(path, "attribute", definition.attribute, attributes, _NUMERIC)
        elif isinstance(definition, kinds.Distinct):
            self._attribute(path, "attribute", definition.attribute, attributes, (*_WORDS, *_NUMERIC))
        elif isinstance(definition, kinds.Affinity):
            self._attribute(path, "by", definition.by, attributes, _WORDS)
            if definition.to != "id":
                known = self.catalogue.attributes
                self._attribute(path, "to", definition.to, known, (*_WORDS, "weights"))

    def _attribute(
        self,
        path: Path,
        key: str,
        name: str,
        known: Mapping[str, AttributeType],
        fitting: tuple[str, ...],
        place: Path | None = None,
    ) -> bool:
        place = place or (*path, key)
        if not self._known("features.yaml", place, "attribute", name, known):
            return False
        if known[name].type not in fitting:
            self._report(
                "features.yaml",
                place,
                f'"{name}" is of type {known[name].type}; fitting: {", ".join(fitting)}',
            )
            return False
        return True

    def _groups(self) -> None:
        for name, group in self.catalogue.groups.items():
            outcome, path = group.outcome, ("groups", name, "outcome")
            if outcome is None:
                continue
            if self._known("actions.yaml", (*path, "event"), "event", outcome.event, self.events.events):
                attributes = self.events.events[outcome.event].attributes
                place = (*path, "match")
                known = self._known("actions.yaml", place, "attribute", outcome.match, attributes)
                if known and attributes[outcome.match].type not in _WORDS:
                    self._report("actions.yaml", place, f'"{outcome.match}" must be a word')

    def _action(self, action_id: str) -> None:
        action, path = self.catalogue.actions[action_id], ("actions", action_id)
        if action_id == DO_NOTHING:
            self._report("actions.yaml", path, f'"{DO_NOTHING}" is always a candidate and cannot be declared')
        if self._known("actions.yaml", (*path, "group"), "group", action.group, self.catalogue.groups):
            outcome = self.catalogue.groups[action.group].outcome
            if outcome is not None and outcome.within == "validity" and action.valid.through is None:
                self._report(
                    "actions.yaml", path, 'its outcome ends with its validity, so "valid.through" is needed'
                )
        self._known("actions.yaml", (*path, "purpose"), "purpose", action.purpose, self.head.purposes)
        for name, raw in action.attributes.items():
            self._action_attribute(name, raw, (*path, "attributes", name))
        for name, treatment in action.treatments.items():
            place = (*path, "treatments", name, "channel")
            self._known("actions.yaml", place, "channel", treatment.channel, self.head.channels)

    def _action_attribute(self, name: str, raw: object, path: Path) -> None:
        if not self._known("actions.yaml", path, "attribute", name, self.catalogue.attributes):
            return
        declared = self.catalogue.attributes[name]
        try:
            values.parse_weights(raw) if declared.type == "weights" else values.parse(declared, raw)
        except ValueError as error:
            self._report("actions.yaml", path, f"{name}: {error}")

    def _variables(self) -> dict[str, Any]:
        variables: dict[str, Any] = {f"context.{name}": expressions.STRING for name in CONTEXT_FIELDS}
        variables |= {f"action.{name}": expressions.STRING for name in ACTION_FIELDS}
        variables |= {f"time.{name}": expressions.INT for name in LOCAL_TIME}
        variables |= {formulas.FEATURE + name: expressions.DOUBLE for name in self.features}
        for prefix, attributes in (
            ("profile", self.profile.attributes),
            ("context", self.head.context),
            ("action", self.catalogue.attributes),
        ):
            for name, declared in attributes.items():
                if declared.type in _CEL_TYPES:
                    variables[f"{prefix}.{name}"] = _CEL_TYPES[declared.type]
        return variables

    def _rules(self, environment: Environment, candidates: Collection[str]) -> Iterator[CompiledRule]:
        varying = {formulas.FEATURE + name for name in candidates}
        seen: set[str] = set()
        for stage in STAGES:
            for index, rule in enumerate(getattr(self.policies, stage)):
                path = (stage, index)
                if rule.name in seen:
                    self._report("policies.yaml", (*path, "name"), f'a rule named "{rule.name}" stands above')
                seen.add(rule.name)
                self._scope(rule, (*path, "applies_to"))
                try:
                    expression = environment.compile(rule.when)
                except ExpressionError as error:
                    self._report("policies.yaml", (*path, "when"), f'rule "{rule.name}": {error}')
                    continue
                reads = {name.removeprefix(expressions.KNOWN) for name in expression.reads}
                per_action = any(name.startswith("action.") or name in varying for name in reads)
                yield CompiledRule(stage=stage, rule=rule, expression=expression, per_action=per_action)

    def _scope(self, rule: Rule, path: Path) -> None:
        for index, name in enumerate(rule.applies_to.groups):
            self._known("policies.yaml", (*path, "groups", index), "group", name, self.catalogue.groups)
        for index, name in enumerate(rule.applies_to.actions):
            self._known("policies.yaml", (*path, "actions", index), "action", name, self.catalogue.actions)


def _inputs(
    definition: kinds.AnyFeature, checker: Checker
) -> Iterator[tuple[Mapping[str, AttributeType], str, Collection[str]]]:
    """Yield the declared attributes that a feature rests on, and what of each it does not rest on.

    Words that are only compared may be joined by others without changing any number.
    """
    if isinstance(definition, kinds.ProfileFeature):
        yield checker.profile.attributes, definition.attribute, ()
    elif isinstance(definition, kinds.ContextFeature):
        yield checker.head.context, definition.attribute, ()
    elif isinstance(definition, kinds.ActionFeature):
        yield checker.catalogue.attributes, definition.attribute, ()
    elif isinstance(definition, kinds.EventDefinition):
        attributes = checker.events.events[definition.event].attributes
        for name in sorted(definition.where):
            yield attributes, name, ("values",)
        if isinstance(definition, kinds.Affinity):
            yield attributes, definition.by, ("values",)
            yield checker.catalogue.attributes, definition.to, ("values",)
        if (attribute := getattr(definition, "attribute", None)) is not None:
            yield attributes, attribute, ("values",) if isinstance(definition, kinds.Distinct) else ()
