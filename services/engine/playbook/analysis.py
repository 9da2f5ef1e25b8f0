"""What is wrong with a playbook that loads: what can never be chosen, and words that never match."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import get_args

from services.engine.playbook.conditions import Variable
from services.engine.playbook.contact_findings import idle_contact_policies
from services.engine.playbook.errors import did_you_mean
from services.engine.playbook.feature_findings import idle_feature_keys
from services.engine.playbook.findings import Finding, listed, named
from services.engine.playbook.kinds import Affinity
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.reach import Bar, Place, Reach
from services.engine.playbook.remarks import remarks
from services.engine.playbook.rules import CompiledRule
from services.engine.playbook.schema.catalogue import ActionClass


def analyse(playbook: Playbook, now: datetime) -> tuple[Finding, ...]:
    """Return the problems and the notes; ``now`` tells which actions are over.

    A problem is certain and cannot be meant: a condition that is never met, statements that exclude each
    other, an action that can never be chosen, a word that nothing is ever equal to, a treatment without
    content, a limit of age or of contacts that never binds. A note may be meant. Conditions that cannot be
    read are noted too.
    """
    reach = Reach(playbook)
    return (
        *_never_met(reach),
        *_excluding(reach),
        *_out_of_reach(reach),
        *_unknown_words(reach),
        *_unmatched_words(playbook),
        *_without_content(playbook),
        *idle_feature_keys(playbook),
        *idle_contact_policies(reach),
        *remarks(reach, now),
    )


def _never_met(reach: Reach) -> Iterator[Finding]:
    """Find conditions that never are what they are there for."""
    for place in reach.conditions:
        rule, about = reach.rules[place], reach.about[place]
        can_be_true = reach.can_be(place, True)
        if rule.section in ("weights", "preferred_hours"):
            if not can_be_true or (about and not any(reach.can_be(place, True, one) for one in about)):
                yield _problem(reach, place, f"{named(rule)} never applies: its condition is never true")
        elif not rule.wanted:
            if not reach.can_be(place, False):
                yield _problem(reach, place, f"{named(rule)} is never false{_barring(reach, about)}")
            elif not can_be_true and rule.expression is not None and rule.expression.reads:
                yield _problem(reach, place, f"{named(rule)} is never true")
        elif not can_be_true:
            yield _problem(reach, place, f"{named(rule)} is never true{_barring(reach, about)}")


def _excluding(reach: Reach) -> Iterator[Finding]:
    """Find statements of which each can be met, but not all."""
    barred: dict[Bar, list[Place]] = {}
    for treatment, bars in reach.bars.items():
        for bar in bars:
            barred.setdefault(bar, []).append(treatment)
    for bar, treatments in barred.items():
        if len(bar) > 1:
            yield _problem(reach, bar[-1], f"{_cause(reach, bar)}{_barring(reach, treatments)}")


def _out_of_reach(reach: Reach) -> Iterator[Finding]:
    """Find what can never be chosen: actions are problems, single treatments of others are notes."""
    actions: dict[tuple[Bar, ...], list[str]] = {}
    for action_id, action in reach.playbook.actions.items():
        bars = [reach.bars.get((action_id, treatment_id), ()) for treatment_id in action.treatments]
        if all(bars):
            actions.setdefault(tuple(dict.fromkeys(each[0] for each in bars)), []).append(action_id)
            continue
        for treatment_id, found in zip(action.treatments, bars, strict=True):
            if found:
                message = f"{action_id}/{treatment_id} can never be chosen: {_cause(reach, found[0])}"
                path = ("actions", action_id, "treatments", treatment_id)
                yield Finding(file="actions.yaml", path=path, message=message)
    for causes, names in actions.items():
        message = f"{listed(names)} can never be chosen: {'; '.join(_cause(reach, bar) for bar in causes)}"
        yield Finding(file="actions.yaml", path=("actions", names[0]), message=message, is_problem=True)


def _unknown_words(reach: Reach) -> Iterator[Finding]:
    """Find words in conditions that a variable with declared words is never equal to."""
    closed = _closed(reach.playbook)
    for place, condition in reach.conditions.items():
        compared = {comparison for way in condition.true + condition.false for comparison, _ in way}
        for name, word in sorted(
            (comparison.name, word)
            for comparison in compared
            if comparison.name in closed and not isinstance(comparison.other, Variable)
            for word in (comparison.other if isinstance(comparison.other, tuple) else (comparison.other,))
            if isinstance(word, str) and word not in closed[comparison.name]
        ):
            message = (
                f'{named(reach.rules[place])}: {name} is never "{word}"{did_you_mean(word, closed[name])}'
            )
            yield _problem(reach, place, message, word)


def _closed(playbook: Playbook) -> Mapping[str, Collection[str]]:
    """Return the words of the variables that can be no others."""
    closed: dict[str, Collection[str]] = {
        "action.id": playbook.actions,
        "action.group": playbook.catalogue.groups,
        "action.class": get_args(ActionClass),
        "action.purpose": playbook.head.purposes,
        "treatment.id": {treatment_id for _, _, treatment_id, _ in playbook.treatments()},
        "treatment.channel": playbook.head.channels,
    }
    for prefix, attributes in (
        ("profile", playbook.profile.attributes),
        ("context", playbook.head.context),
        ("action", playbook.catalogue.attributes),
    ):
        for name, declared in attributes.items():
            if declared.values is not None:
                closed[f"{prefix}.{name}"] = declared.values
    return closed


def _unmatched_words(playbook: Playbook) -> Iterator[Finding]:
    """Find words of weights that match no event."""
    matched: dict[str, list[Sequence[str] | None]] = {}
    for feature in playbook.features.values():
        if isinstance(feature, Affinity):
            by = playbook.events.events[feature.event].attributes[feature.by]
            matched.setdefault(feature.to, []).append(by.values)
    for name, found in matched.items():
        if any(values is None for values in found) or playbook.catalogue.attributes[name].type != "weights":
            continue
        known = {word for values in found for word in values or ()}
        for action_id, action in playbook.actions.items():
            for word in action.attributes.get(name, {}):
                if word not in known:
                    message = f'{name}: "{word}" matches no event{did_you_mean(word, known)}'
                    path = ("actions", action_id, "attributes", name, word)
                    yield Finding(file="actions.yaml", path=path, message=message, is_problem=True)


def _without_content(playbook: Playbook) -> Iterator[Finding]:
    """Find texts that say nothing; a treatment of nothing else has no content."""
    for action_id, _, treatment_id, treatment in playbook.treatments():
        path = ("actions", action_id, "treatments", treatment_id, "content")
        blank = [name for name, text in treatment.content.items() if not text.strip()]
        if len(blank) == len(treatment.content):
            message = f"{action_id}/{treatment_id} has no content: its texts are empty"
            yield Finding(file="actions.yaml", path=path, message=message, is_problem=True)
            continue
        for name in blank:
            yield Finding(file="actions.yaml", path=(*path, name), message=f"{name}: the text is empty")


def _problem(reach: Reach, place: int, message: str, word: str = "") -> Finding:
    file, path = reach.condition_at(place)
    return Finding(file=file, path=path, message=message, is_problem=True, word=word)


def _barring(reach: Reach, treatments: Sequence[Place]) -> str:
    """Say what cannot be chosen therefore: actions, or single treatments of theirs."""
    barred = set(treatments)
    names: dict[str, None] = {}
    for action_id, treatment_id in treatments:
        own = {(action_id, other) for other in reach.playbook.actions[action_id].treatments}
        names[action_id if own <= barred else f"{action_id}/{treatment_id}"] = None
    return f", so {listed(names)} can never be chosen" if names else ""


def _cause(reach: Reach, bar: Bar) -> str:
    rules = [reach.rules[place] for place in bar]
    if rules[0].section == "quiet_hours":
        return f"quiet hours {listed([_quoted(rule) for rule in rules])} cover the whole day"
    if len(rules) == 1:
        return f"{named(rules[0])} is never {str(rules[0].wanted).lower()} of it"
    return f"{' and '.join(map(_asked, rules))} exclude each other"


def _asked(rule: CompiledRule) -> str:
    text = " ".join(rule.expression.text.split()) if rule.expression is not None else ""
    return f"{named(rule)} ({'' if rule.wanted else 'unless '}{text})"


def _quoted(rule: CompiledRule) -> str:
    return f'"{rule.rule.name}"'
