"""Checks what a playbook's files say of each other, and compiles its rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from services.engine.playbook import formulas, kinds, templates, values
from services.engine.playbook.errors import PlaybookError, Problem, did_you_mean
from services.engine.playbook.expressions import Environment, Expression, ExpressionError, Formula
from services.engine.playbook.playbook import DO_NOTHING, Texts
from services.engine.playbook.rules import SECTIONS, CompiledRule, RuleBook, Section, stop_of, varies
from services.engine.playbook.schema.attributes import (
    AttributeType,
    ContextAttribute,
    EventsFile,
    ProfileAttribute,
    ProfileFile,
)
from services.engine.playbook.schema.catalogue import ActionsFile
from services.engine.playbook.schema.head import PlaybookFile
from services.engine.playbook.schema.policies import Named, PoliciesFile, Precedence, Scope
from services.engine.playbook.source import Document, Path
from services.engine.playbook.variables import (
    ACTION_FIELDS,
    CONTEXT_FIELDS,
    COORDINATES,
    LOCAL_TIME,
    of_provenance,
    variables,
)

_UNSEEN: Final = ("borrowed", "displayed")
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
    feature_consents: Mapping[str, frozenset[str]]
    rules: RuleBook
    texts: Mapping[tuple[str, str], Texts]


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
        self._consents()
        for name in self.features:
            self._feature(name)
        self._promises()
        self._groups()
        for action_id in self.catalogue.actions:
            self._action(action_id)
        self._bundles()
        names = variables(self.head, self.profile, self.features, self.catalogue)
        environment = Environment(
            {name: kind for name, kind in names.items() if name not in self._displayed},
            {n: f'"{n}" is displayed only, so nothing may be decided by it' for n in self._displayed},
        )
        found = formulas.compile_formulas(self.features, environment, self._formula_problem)
        candidates = formulas.candidates(self.features, found)
        rules = RuleBook(self._rules(environment, candidates))
        shown = {name for name in names if name.split(".")[0] in templates.PREFIXES}
        texts = {
            (action_id, treatment_id): self._texts(action_id, treatment_id, shown)
            for action_id, action in self.catalogue.actions.items()
            for treatment_id in action.treatments
        }
        if self.problems:
            raise PlaybookError(self.problems)
        return Compiled(
            environment=environment,
            formulas=found,
            candidate_features=candidates,
            feature_consents=formulas.consents(self.features, found, self.profile, self.events),
            rules=rules,
            texts=texts,
        )

    def _report(self, file: str, path: Path, message: str, word: str = "") -> None:
        self.problems.append(self.documents[file].problem(path, message, word))

    def _formula_problem(self, name: str, message: str, word: str) -> None:
        self._report("features.yaml", ("features", name, "expression"), f'feature "{name}": {message}', word)

    def _known(self, file: str, path: Path, what: str, name: str, known: Collection[str]) -> bool:
        if name in known:
            return True
        self._report(file, path, f'unknown {what} "{name}"' + did_you_mean(name, known), name)
        return False

    def _all_known(
        self, file: str, path: Path, what: str, names: Sequence[str], known: Collection[str]
    ) -> None:
        for index, name in enumerate(names):
            if self._known(file, (*path, index), what, name, known) and name in names[:index]:
                self._report(file, (*path, index), f'"{name}" stands twice')

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
            ((*CONTEXT_FIELDS, *COORDINATES), "playbook.yaml", "context", self.head.context),
            (ACTION_FIELDS, "actions.yaml", "attributes", self.catalogue.attributes),
        ):
            for name in names:
                if name in (*reserved, *LOCAL_TIME):
                    self._report(file, (section, name), f'"{name}" is a name that Tact uses itself')

    def _consents(self) -> None:
        """Check that each consent that data need is a purpose of the use of data."""
        places: list[tuple[str, Path, str | None]] = [
            ("profile.yaml", ("attributes", name, "consent"), declared.consent)
            for name, declared in self.profile.attributes.items()
        ]
        places += [
            ("events.yaml", ("events", name, "consent"), event.consent)
            for name, event in self.events.events.items()
        ]
        for file, path, purpose in places:
            if purpose is not None:
                self._purpose(file, path, purpose, "data")

    def _purpose(self, file: str, path: Path, name: str, use: str) -> None:
        if self._known(file, path, "purpose", name, self.head.purposes):
            self._use(file, path, name, use)

    def _use(self, file: str, path: Path, name: str, use: str) -> None:
        purpose = self.head.purposes.get(name)
        if purpose is not None and purpose.use != use:
            self._report(file, path, f'"{name}" is a purpose of use {purpose.use}; needed: {use}')

    def _feature(self, name: str) -> None:
        definition, path = self.features[name], ("features", name)
        if isinstance(definition, kinds.EventDefinition):
            self._event_feature(definition, path)
        elif isinstance(definition, kinds.ProfileFeature):
            if self._is_seen(path, definition.attribute, self.profile.attributes):
                self._attribute(path, "attribute", definition.attribute, self.profile.attributes, _NUMERIC)
        elif isinstance(definition, kinds.ActionFeature):
            self._attribute(path, "attribute", definition.attribute, self.catalogue.attributes, _NUMERIC)
        elif isinstance(definition, kinds.ContextFeature) and definition.attribute not in LOCAL_TIME:
            known = {**self.head.context, **dict.fromkeys(LOCAL_TIME, AttributeType(type="integer"))}
            if self._is_seen(path, definition.attribute, self.head.context):
                self._attribute(path, "attribute", definition.attribute, known, _NUMERIC)

    def _is_seen(
        self, path: Path, name: str, known: Mapping[str, ProfileAttribute] | Mapping[str, ContextAttribute]
    ) -> bool:
        """Refuse features of what models must not see."""
        if (declared := known.get(name)) is None or declared.provenance not in _UNSEEN:
            return True
        message = f'"{name}" is {declared.provenance}, so no feature may be made of it'
        self._report("features.yaml", (*path, "attribute"), message)
        return False

    def _event_feature(self, definition: kinds.EventDefinition, path: Path) -> None:
        if not self._known("features.yaml", (*path, "event"), "event", definition.event, self.events.events):
            return
        attributes = self.events.events[definition.event].attributes
        for name, wanted in definition.where.items():
            place = (*path, "where", name)
            if self._attribute(path, "where", name, attributes, (*_WORDS, "integer", "boolean"), place):
                self._value("features.yaml", place, name, attributes[name], wanted)
        if isinstance(definition, _SUMMING) and definition.attribute is not None:
            self._attribute(path, "attribute", definition.attribute, attributes, _SUMMABLE)
        if isinstance(definition, kinds.Min | kinds.Max):
            self._attribute(path, "attribute", definition.attribute, attributes, _ORDERED)
        elif isinstance(definition, kinds.First | kinds.Last):
            self._attribute(path, "attribute", definition.attribute, attributes, _NUMERIC)
        elif isinstance(definition, kinds.Distinct):
            self._attribute(path, "attribute", definition.attribute, attributes, (*_WORDS, *_NUMERIC))
        elif isinstance(definition, kinds.Open):
            self._closing(definition, path)
        elif isinstance(definition, kinds.Affinity):
            self._attribute(path, "by", definition.by, attributes, _WORDS)
            if definition.to != "id":
                known = {"id": AttributeType(type="string"), **self.catalogue.attributes}
                self._attribute(path, "to", definition.to, known, (*_WORDS, "weights"))

    def _closing(self, definition: kinds.Open, path: Path) -> None:
        """Check that what closes is known and something else, and that all declare the key."""
        known, path_of_closing, key = self.events.events, (*path, "closed_by"), definition.key
        self._all_known("features.yaml", path_of_closing, "event", definition.closed_by, known)
        has_key = self._attribute(path, "key", key, known[definition.event].attributes, ("string",))
        for index, event in enumerate(definition.closed_by):
            place = (*path_of_closing, index)
            if event == definition.event:
                message = f'"{event}" opens, so it cannot close: each would close itself'
                self._report("features.yaml", place, message)
            elif event in known and has_key:
                declared, what = known[event].attributes, f'attribute of "{event}":'
                if self._known("features.yaml", place, what, key, declared):
                    self._attribute(path, "closed_by", key, declared, ("string",), place)

    def _promises(self) -> None:
        """Check that what tells how long a promise has been open does."""
        for index, promise in enumerate(self.policies.promises):
            path, name = ("promises", index, "feature"), promise.feature
            if self._known("policies.yaml", path, "feature", name, self.features):
                feature = self.features[name]
                if not isinstance(feature, kinds.Open):
                    message = f'"{name}" is of kind {feature.kind}; needed: open'
                    self._report("policies.yaml", path, message)
                elif feature.default is not None:
                    message = f'"{name}" has a default, which would count as waiting where nothing is open'
                    self._report("policies.yaml", path, message)

    def _value(self, file: str, path: Path, name: str, declared: AttributeType, raw: object) -> None:
        try:
            values.parse_weights(raw) if declared.type == "weights" else values.parse(declared, raw)
        except ValueError as error:
            words = ("true", "false") if declared.type == "boolean" else declared.values or ()
            self._report(file, path, f"{name}: {error}" + did_you_mean(str(raw), words))

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
        self._purpose("actions.yaml", (*path, "purpose"), action.purpose, "contact")
        for name, raw in action.attributes.items():
            self._action_attribute(name, raw, (*path, "attributes", name))
        for name, expected in action.measures.items():
            place = (*path, "measures", name)
            if self._known("actions.yaml", place, "measure", name, self.head.measures):
                measure = self.head.measures[name]
                if not measure.least <= expected <= measure.most:
                    message = f"{name}: must lie from {measure.least:g} to {measure.most:g}"
                    self._report("actions.yaml", place, message)
        for name, treatment in action.treatments.items():
            place = (*path, "treatments", name)
            channels, devices = self.head.channels, self.head.devices
            self._known("actions.yaml", (*place, "channel"), "channel", treatment.channel, channels)
            self._all_known("actions.yaml", (*place, "devices"), "device", treatment.devices, devices)

    def _bundles(self) -> None:
        owner: dict[str, str] = {}
        for name, bundle in self.catalogue.bundles.items():
            for index, action_id in enumerate(bundle.actions):
                path = ("bundles", name, "actions", index)
                self._known("actions.yaml", path, "action", action_id, self.catalogue.actions)
                if action_id in owner:
                    self._report(
                        "actions.yaml", path, f'"{action_id}" is in bundle "{owner[action_id]}" already'
                    )
                owner.setdefault(action_id, name)
                action = self.catalogue.actions.get(action_id)
                if action is not None and action.action_class == "default":
                    message = f'"{action_id}" stands in where nothing else is left, so it follows nothing'
                    self._report("actions.yaml", path, message)

    def _texts(self, action_id: str, treatment_id: str, shown: Collection[str]) -> Texts:
        """Parse the texts of a treatment, and check what their placeholders read."""
        action = self.catalogue.actions[action_id]
        treatment = action.treatments[treatment_id]
        channel = self.head.channels.get(treatment.channel)
        path: Path = ("actions", action_id, "treatments", treatment_id, "content")
        is_public = channel is not None and channel.public
        content = {
            name: self._template(text, (*path, name), shown, is_public)
            for name, text in treatment.content.items()
        }
        for name, template in content.items():
            self._shows_only((*path, name), template)
        why = action.why and self._template(action.why, ("actions", action_id, "why"), shown, False)
        return Texts(content=content, why=why or None)

    def _template(self, text: str, path: Path, shown: Collection[str], is_public: bool) -> templates.Template:
        try:
            template = templates.parse(text)
        except ValueError as error:
            self._report("actions.yaml", path, str(error))
            return templates.Template(pieces=())
        for name in sorted(template.reads):
            if not self._known("actions.yaml", path, "placeholder", name, shown):
                continue
            if name in self.borrowed:
                self._report("actions.yaml", path, f'"{name}" is borrowed, so no text may show it', name)
            elif is_public and name.startswith(("profile.", "feature.")):
                self._report("actions.yaml", path, f'"{name}" is private, and the channel is public', name)
        return template

    def _shows_only(self, path: Path, template: templates.Template) -> None:
        """Refuse a text that would not leave for want of what decides nothing."""
        for name in sorted(self._displayed):
            if (name, None) in template.pieces:
                message = f'"{name}" decides nothing: write {{{name}|...}}, so that the text leaves without'
                self._report("actions.yaml", path, message, name)

    @cached_property
    def borrowed(self) -> frozenset[str]:
        """Return the variables that are never logged."""
        return of_provenance(self.head, self.profile, "borrowed")

    @cached_property
    def _displayed(self) -> frozenset[str]:
        return of_provenance(self.head, self.profile, "displayed")

    def _action_attribute(self, name: str, raw: object, path: Path) -> None:
        if not self._known("actions.yaml", path, "attribute", name, self.catalogue.attributes):
            return
        self._value("actions.yaml", path, name, self.catalogue.attributes[name], raw)

    def _rules(self, environment: Environment, candidates: Collection[str]) -> Iterator[CompiledRule]:
        varying = {formulas.FEATURE + name for name in candidates}
        for place, (section, rule, expression) in enumerate(self._statements(environment), start=1):
            how_often = varies(expression, varying)
            yield CompiledRule(
                place=place, section=section, rule=rule, expression=expression, varies=how_often
            )

    def _statements(self, environment: Environment) -> Iterator[tuple[Section, Named, Expression | None]]:
        """Yield the statements in their order; one whose condition does not compile has none."""
        seen: set[str] = set()
        for section in SECTIONS:
            for index, rule in enumerate(getattr(self.policies, section)):
                path = (section, index)
                if rule.name in seen:
                    self._report("policies.yaml", (*path, "name"), f'a rule named "{rule.name}" stands above')
                seen.add(rule.name)
                self._scope(rule.applies_to, (*path, "applies_to"))
                if isinstance(rule, Precedence):
                    self._scope(rule.first, (*path, "first"))
                where = ("policies.yaml", (*path, "when"), f'rule "{rule.name}"')
                yield section, rule, self._condition(environment, getattr(rule, "when", None), *where)
            if section == "suppression":
                yield from self._stops(environment)

    def _stops(self, environment: Environment) -> Iterator[tuple[Section, Named, Expression | None]]:
        """Yield what makes an action pointless, as suppressions of it alone."""
        for action_id, action in self.catalogue.actions.items():
            if action.stop_when is not None:
                where = ("actions.yaml", ("actions", action_id, "stop_when"), f'action "{action_id}"')
                yield "stop", stop_of(action_id), self._condition(environment, action.stop_when, *where)

    def _condition(
        self, environment: Environment, text: str | None, file: str, path: Path, owner: str
    ) -> Expression | None:
        try:
            return None if text is None else environment.compile(text)
        except ExpressionError as error:
            self._report(file, path, f"{owner}: {error}", error.name)
            return None

    def _scope(self, scope: Scope, path: Path) -> None:
        for what, names, known in (
            ("group", scope.groups, self.catalogue.groups),
            ("action", scope.actions, self.catalogue.actions),
            ("treatment", scope.treatments, self._treatments),
            ("purpose", scope.purposes, self.head.purposes),
            ("channel", scope.channels, self.head.channels),
        ):
            self._all_known("policies.yaml", (*path, f"{what}s"), what, names, known)
        for index, name in enumerate(scope.purposes):
            self._use("policies.yaml", (*path, "purposes", index), name, "contact")

    @cached_property
    def _treatments(self) -> frozenset[str]:
        actions = self.catalogue.actions.items()
        return frozenset(f"{action_id}/{name}" for action_id, action in actions for name in action.treatments)
