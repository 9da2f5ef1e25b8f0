"""What each treatment is asked, and what bars it for good, as far as conditions can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Final, NamedTuple

from services.engine.playbook import conditions
from services.engine.playbook.conditions import OF_TREATMENT, Condition, State, Variable, Way
from services.engine.playbook.expressions import KNOWN
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.rules import STAGES, CompiledRule
from services.engine.playbook.schema.head import Hours
from services.engine.playbook.schema.policies import QuietHours
from services.engine.playbook.source import Path

Place = tuple[str, str]
"""An action id and a treatment id."""
Bar = tuple[int, ...]
"""The places of the statements that together never let a treatment pass."""
_DAY: Final = 24 * 60
_DOMAINS: Final[Mapping[str, Sequence[State]]] = {
    "time.hour": (*range(24), None),
    "time.weekday": (*range(1, 8), None),
}


class Question(NamedTuple):
    """What a statement asks of a treatment; the same for all of which it reads the same."""

    place: int
    wanted: bool
    own: tuple[State, ...]


class Reach:
    """The treatments of a playbook, and the statements about each."""

    def __init__(self, playbook: Playbook) -> None:
        self.playbook = playbook
        self.places: Sequence[Place] = [(action, name) for action, _, name, _ in playbook.treatments()]
        self.rules: Mapping[int, CompiledRule] = {rule.place: rule for rule in playbook.rules.rules}
        self._types = playbook.environment.variables
        self._ways: dict[Question, tuple[Way, ...]] = {}
        self._exclude: dict[tuple[Question, Question], bool] = {}
        self._barring: dict[tuple[Question, ...], tuple[Bar, ...]] = {}

    @cached_property
    def conditions(self) -> Mapping[int, Condition]:
        """Return the conditions of the statements that have one, by place."""
        return {
            place: conditions.read(rule.expression.text, self._types)
            for place, rule in self.rules.items()
            if rule.expression is not None
        }

    @cached_property
    def locations(self) -> Mapping[int, tuple[str, Path]]:
        """Return the file of each statement and where it stands in it, by place."""
        sections = [rule.section for rule in self.rules.values()]
        found: dict[int, tuple[str, Path]] = {}
        for number, (place, rule) in enumerate(self.rules.items()):
            if rule.section == "stop":
                found[place] = "actions.yaml", ("actions", rule.scope.actions[0], "stop_when")
            else:
                index = sections[:number].count(rule.section)
                found[place] = "policies.yaml", (rule.section, index)
        return found

    def condition_at(self, place: int) -> tuple[str, Path]:
        """Return where the condition of a statement stands, or the statement where it has none."""
        file, path = self.locations[place]
        rule = self.rules[place]
        has_key = rule.expression is not None and rule.section != "stop"
        return file, (*path, "when") if has_key else path

    @cached_property
    def about(self) -> Mapping[int, Sequence[Place]]:
        """Return the treatments that the statements are about, by place."""
        found: dict[int, list[Place]] = {place: [] for place in self.rules}
        for treatment in self.places:
            for rule in self.concerning(treatment):
                found[rule.place].append(treatment)
        return found

    @cached_property
    def bars(self) -> Mapping[Place, Sequence[Bar]]:
        """Return what bars the treatments that anything bars."""
        return {place: found for place in self.places if (found := self._bars(place))}

    def concerning(self, treatment: Place) -> Sequence[CompiledRule]:
        """Return the statements about a treatment."""
        action_id, treatment_id = treatment
        action = self.playbook.actions[action_id]
        declared = action.treatments[treatment_id]
        found = self.playbook.rules.concerning(action_id, action, treatment_id, declared)
        return (*found.shared, *found.own, *found.others)

    def can_be(self, place: int, wanted: bool, treatment: Place | None = None) -> bool:
        """Tell whether a condition can come to that for a treatment, or for any that there might be."""
        if treatment is not None:
            return bool(self._ways_of(self._question(self.rules[place], wanted, treatment), treatment))
        condition = self.conditions[place]
        ways = condition.true if wanted else condition.false
        return any(self._is_possible(_of_customer(way)) for way in ways)

    def _bars(self, treatment: Place) -> tuple[Bar, ...]:
        rules = self.concerning(treatment)
        asked = tuple(
            self._question(rule, rule.wanted, treatment) for rule in rules if rule.section in STAGES
        )
        if asked not in self._barring:
            self._barring[asked] = tuple(self._barred_by(asked, treatment))
        quiet = [rule for rule in rules if isinstance(rule.rule, QuietHours)]
        is_silent = not self.playbook.actions[treatment[0]].any_hour and cover(quiet)
        return (*self._barring[asked], *([tuple(rule.place for rule in quiet)] if is_silent else []))

    def _barred_by(self, asked: Sequence[Question], treatment: Place) -> Iterator[Bar]:
        ways = {question: self._ways_of(question, treatment) for question in asked}
        yield from ((question.place,) for question in asked if not ways[question])
        for one, other in combinations([question for question in asked if ways[question]], 2):
            if (one, other) not in self._exclude:
                pairs = ((way, also) for way in ways[one] for also in ways[other])
                self._exclude[one, other] = not any(self._are_possible(*pair) for pair in pairs)
            if self._exclude[one, other]:
                yield one.place, other.place

    def _question(self, rule: CompiledRule, wanted: bool, treatment: Place) -> Question:
        own = self._own[treatment]
        return Question(rule.place, wanted, tuple(own.get(name) for name in self._own_names[rule.place]))

    def _ways_of(self, question: Question, treatment: Place) -> tuple[Way, ...]:
        if question not in self._ways:
            condition, own = self.conditions[question.place], self._own[treatment]
            ways = condition.true if question.wanted else condition.false
            found = (conditions.resolved(way, own) for way in ways)
            self._ways[question] = tuple(way for way in found if way is not None and self._is_possible(way))
        return self._ways[question]

    def _are_possible(self, way: Way, also: Way) -> bool:
        """Tell whether two ways are possible together, each of which is."""
        return _names(way).isdisjoint(_names(also)) or self._is_possible(way | also)

    def _is_possible(self, way: Way) -> bool:
        return conditions.example(way, self._types, _DOMAINS) is not None

    @cached_property
    def _own_names(self) -> Mapping[int, Sequence[str]]:
        """Return the variables of treatments that the statements read, by place."""
        reads = (
            (place, rule.expression.reads if rule.expression else ()) for place, rule in self.rules.items()
        )
        plain = {place: {name.removeprefix(KNOWN) for name in names} for place, names in reads}
        return {
            place: sorted(name for name in names if name.startswith(OF_TREATMENT))
            for place, names in plain.items()
        }

    @cached_property
    def _own(self) -> Mapping[Place, Mapping[str, State]]:
        return {
            (action_id, treatment_id): {
                **self.playbook.action_variables[action_id],
                "treatment.id": treatment_id,
                "treatment.channel": treatment.channel,
            }
            for action_id, _, treatment_id, treatment in self.playbook.treatments()
        }


def cover(rules: Iterable[CompiledRule]) -> bool:
    """Tell whether the hours of statements cover the whole day together."""
    return len(minutes(rules)) == _DAY


def minutes(rules: Iterable[CompiledRule]) -> set[int]:
    """Return the minutes of the day that lie in the hours of any of the statements."""
    spans = [(rule.rule.start, rule.rule.end) for rule in rules if isinstance(rule.rule, Hours)]
    # An end before its start lies after midnight.
    return {minute % _DAY for start, end in spans for minute in range(start, end + (start > end) * _DAY)}


@lru_cache(maxsize=4_096)
def _names(way: Way) -> frozenset[str]:
    return frozenset(comparison.name for comparison, _ in way)


def _of_customer(way: Way) -> Way:
    """Leave out what depends on the treatment."""
    return frozenset(
        (comparison, wanted)
        for comparison, wanted in way
        if not comparison.name.startswith(OF_TREATMENT) and not isinstance(comparison.other, Variable)
    )
