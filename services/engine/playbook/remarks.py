"""What may be meant, and is worth knowing all the same: vetoes, what does nothing, what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from services.engine.lengths import exact
from services.engine.playbook.findings import Finding, listed, named
from services.engine.playbook.formulas import FEATURE
from services.engine.playbook.kinds import Open
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.reach import Reach, minutes
from services.engine.playbook.rules import RESTRAINTS, STAGES, CompiledRule
from services.engine.playbook.schema.catalogue import Action
from services.engine.playbook.schema.policies import Lever, Promise, Rule, Weight

_SAID_ANYWAY: Final = ("mandatory", "transactional")
"""The classes that need no consent."""


def remarks(reach: Reach, now: datetime) -> Iterator[Finding]:
    """Return all notes on a playbook."""
    for place, rule in reach.rules.items():
        for message in _on_rule(reach, rule):
            file, path = reach.locations[place]
            yield Finding(file=file, path=path, message=message)
    yield from _on_consent(reach)
    yield from _on_actions(reach, now)
    yield from _on_purposes(reach.playbook)
    yield from _on_arms(reach)


def _on_rule(reach: Reach, rule: CompiledRule) -> Iterator[str]:
    name, about = named(rule), reach.about[rule.place]
    if not about and rule.section != "caps":
        yield f"{name} is about no treatment"
    condition = reach.conditions.get(rule.place)
    if condition is not None and condition.unread:
        yield f"{name}: not analysed: {'; '.join(condition.unread)}"
    is_fixed = rule.expression is not None and not rule.expression.reads and rule.section in STAGES
    if is_fixed and not reach.can_be(rule.place, not rule.wanted):
        yield f"{name} is always {str(rule.wanted).lower()}, so it removes nothing"
    if isinstance(rule.rule, Lever | Weight):
        actions = listed(list(dict.fromkeys(action_id for action_id, _ in about)))
        if rule.rule.factor == 0 and about:
            means = (
                "a veto of" if isinstance(rule.rule, Lever) else "where it applies, success is worth nothing:"
            )
            yield f"{name} is 0: {means} {actions}"
        elif rule.rule.factor == 1:
            yield f"{name} is 1, so it changes nothing"
    if isinstance(rule.rule, Promise):
        yield from _on_promise(reach.playbook, rule.rule, name)
    if rule.section == "preferred_hours" and about and all(_is_quiet(reach, rule, one) for one in about):
        yield f"{name} lie within quiet hours, so they never count"
    if held := _held_unnamed(reach, rule):
        yield f"{name} may hold back {listed(held)}, which has to be said"


def _held_unnamed(reach: Reach, rule: CompiledRule) -> Sequence[str]:
    """Return the mandatory actions that a contact policy is about without naming them or their class."""
    scope = rule.scope
    if rule.section not in RESTRAINTS or scope.classes:
        return ()
    named_ones = {*scope.actions, *(reference.split("/")[0] for reference in scope.treatments)}
    actions = dict.fromkeys(action_id for action_id, _ in reach.about[rule.place])
    return [
        action_id
        for action_id in actions
        if reach.playbook.actions[action_id].action_class == "mandatory" and action_id not in named_ones
    ]


def _on_promise(playbook: Playbook, promise: Promise, name: str) -> Iterator[str]:
    feature = playbook.features[promise.feature]
    window = feature.window if isinstance(feature, Open) else None
    if window is not None and window <= promise.within:
        yield f"{name} is never overdue: {FEATURE}{promise.feature} forgets after {exact(window)}"


def _is_quiet(reach: Reach, preferred: CompiledRule, treatment: tuple[str, str]) -> bool:
    quiet = [rule for rule in reach.concerning(treatment) if rule.section == "quiet_hours"]
    return reach.playbook.actions[treatment[0]].any_hour or minutes([preferred]) <= minutes(quiet)


def _on_consent(reach: Reach) -> Iterator[Finding]:
    """Note where what has to be said depends on data that need a consent."""
    needed = _consents(reach.playbook)
    for place, rule in reach.rules.items():
        reads = sorted(needed.keys() & (rule.expression.reads if rule.expression else ()))
        actions = dict.fromkeys(action_id for action_id, _ in reach.about[place])
        exempt = [name for name in actions if reach.playbook.actions[name].action_class in _SAID_ANYWAY]
        if reads and exempt and rule.section in STAGES:
            purposes = listed(sorted(frozenset().union(*(needed[name] for name in reads))))
            message = (
                f"{listed(exempt)} needs no consent to be sent, but {named(rule)} reads {listed(reads)}, "
                f"missing without consent to {purposes}"
            )
            file, path = reach.condition_at(place)
            yield Finding(file=file, path=path, message=message)


def _consents(playbook: Playbook) -> dict[str, frozenset[str]]:
    """Return the purposes whose consent variables need."""
    attributes = playbook.profile.attributes.items()
    needed = {f"profile.{name}": frozenset({each.consent}) for name, each in attributes if each.consent}
    return needed | {FEATURE + name: purposes for name, purposes in playbook.feature_consents.items()}


def _on_actions(reach: Reach, now: datetime) -> Iterator[Finding]:
    playbook = reach.playbook
    ends = {name: end for name, (_, end) in playbook.validity.items() if end is not None and end <= now}
    if ends:
        message = f"{len(ends)} of {len(playbook.actions)} actions are over: {listed(ends)}"
        yield Finding(file="actions.yaml", path=("actions", next(iter(ends)), "valid"), message=message)
    if playbook.head.minimum_propensity == 1.0:
        message = "nothing but a propensity of exactly 1 is enough"
        yield Finding(file="playbook.yaml", path=("minimum_propensity",), message=message)
    for name, action in playbook.actions.items():
        if action.minimum_propensity == 1.0:
            message = f"{name}: nothing but a propensity of exactly 1 is enough"
            yield Finding(file="actions.yaml", path=("actions", name, "minimum_propensity"), message=message)
    always = next((name for name in playbook.actions if _is_in_every_answer(reach, name)), None)
    for name, action in playbook.actions.items():
        if always is not None and action.action_class == "default":
            message = (
                f"{name} stands in only where a caller leaves out {always}, which is in every other answer"
            )
            yield Finding(file="actions.yaml", path=("actions", name, "class"), message=message)


def _is_in_every_answer(reach: Reach, action_id: str) -> bool:
    """Tell whether an action has to be said to everybody, and nothing keeps it from it."""
    action = reach.playbook.actions[action_id]
    if action.action_class != "mandatory" or reach.playbook.validity[action_id] != (None, None):
        return False
    return any(_is_always_possible(reach, action_id, action, name) for name in action.treatments)


def _is_always_possible(reach: Reach, action_id: str, action: Action, treatment_id: str) -> bool:
    treatment = action.treatments[treatment_id]
    rules = reach.concerning((action_id, treatment_id))
    sections = {rule.section for rule in rules}
    templates = reach.playbook.texts[action_id, treatment_id].content.values()
    pieces = [piece for template in templates for piece in template.pieces]
    return (
        not sections.intersection((*STAGES, *RESTRAINTS))
        and (
            action.any_hour or (action.expires_after is None and (action_id, treatment_id) not in reach.bars)
        )
        and not treatment.devices
        and reach.playbook.head.channels[treatment.channel].recipient == "customer"
        and all(isinstance(piece, str) or piece[1] is not None for piece in pieces)
    )


def _on_purposes(playbook: Playbook) -> Iterator[Finding]:
    """Note consents that permit nothing."""
    used = {action.purpose for action in playbook.actions.values()}
    asked = {each.purpose for each in playbook.actions.values() if each.action_class not in _SAID_ANYWAY}
    needed: set[str | None] = {each.consent for each in playbook.profile.attributes.values()}
    needed |= {each.consent for each in playbook.events.events.values()}
    for name, purpose in playbook.head.purposes.items():
        if purpose.use == "data":
            message = "" if name in needed else "no attribute and no event needs consent to it"
        elif name not in used:
            message = "no action uses it, so consent to it permits nothing"
        else:
            message = "" if name in asked else "only actions that need no consent use it"
        if message:
            path = ("purposes", name)
            yield Finding(file="playbook.yaml", path=path, message=f'purpose "{name}": {message}')


def _on_arms(reach: Reach) -> Iterator[Finding]:
    """Note control arms that decide as everybody else's decisions are made."""
    playbook = reach.playbook
    lenient = [
        rule
        for rule in playbook.rules.rules
        if rule.section in ("applicability", "suitability")
        and isinstance(rule.rule, Rule)
        and not rule.rule.protective
    ]
    said_anyway = all(each.action_class in _SAID_ANYWAY for each in playbook.actions.values())
    for arm, is_idle, why in (
        ("no_levers", not playbook.policies.levers, "there is no lever"),
        ("eligibility_only", not lenient, "all applicability and suitability rules are protective"),
        ("hold_out", said_anyway, "all actions are mandatory or transactional"),
    ):
        if is_idle and arm in playbook.head.control_arms:
            message = f"control arm {arm} changes nothing: {why}"
            yield Finding(file="playbook.yaml", path=("control_arms", arm), message=message)
