"""What is idle in a contact policy: caps that can never bind, and what waits for nothing or for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from graphlib import CycleError, TopologicalSorter
from typing import Final, NamedTuple

from services.engine.playbook.facts import facts_of, is_about
from services.engine.playbook.findings import Finding, listed, named
from services.engine.playbook.reach import Place, Reach
from services.engine.playbook.rules import CompiledRule
from services.engine.playbook.schema.policies import Cap, Likeness, Precedence
from services.engine.playbook.schema.scalars import Calendar

_IMPLIES: Final[Mapping[Likeness, Sequence[Likeness]]] = {
    "action": ("group", "purpose"),
    "treatment": ("action", "group", "purpose", "channel"),
}
"""What contacts that are alike in one respect are alike in besides."""
_Stated = tuple[CompiledRule, Cap]


def idle_contact_policies(reach: Reach) -> Iterator[Finding]:
    """Return the problems of caps and precedences, as far as this one version of the playbook goes."""
    yield from _idle_caps(reach)
    yield from _idle_precedences(reach)


def _idle_caps(reach: Reach) -> Iterator[Finding]:
    caps = [(rule, rule.rule) for rule in reach.rules.values() if isinstance(rule.rule, Cap)]
    for one in caps:
        rule, _ = one
        before = [other[0] for other in caps if other is not one and _binds_before(reach, other, one)]
        if not reach.about[rule.place]:
            yield _problem(reach, rule, "can never bind: it is about no treatment")
        elif before:
            yield _problem(reach, rule, f"can never bind: {named(before[0])} always binds before it")


def _binds_before(reach: Reach, other: _Stated, one: _Stated) -> bool:
    """Tell whether a cap is full whenever another is; of two that say the same, the one above is."""
    return _is_as_strict(reach, other, one) and (
        other[0].place < one[0].place or not _is_as_strict(reach, one, other)
    )


def _is_as_strict(reach: Reach, other: _Stated, one: _Stated) -> bool:
    """Tell whether a cap counts all that another one counts, and allows no more."""
    (wider_rule, wider), (rule, cap) = other, one
    alike = {*cap.each, *(name for each in cap.each for name in _IMPLIES.get(each, ()))}
    return (
        wider.most <= cap.most
        and alike.issuperset(wider.each)
        and _covers(wider.window, cap.window)
        and set(reach.about[rule.place]) <= set(reach.about[wider_rule.place])
    )


def _covers(longer: timedelta | Calendar, window: timedelta | Calendar) -> bool:
    if isinstance(longer, timedelta) and isinstance(window, timedelta):
        return longer >= window
    # A week may begin in one month and end in the next.
    return longer == window or (window == "day" and longer in ("week", "month"))


class _Waiting(NamedTuple):
    """A precedence with the treatments that wait, and those that they wait for."""

    rule: CompiledRule
    those: frozenset[Place]
    first: frozenset[Place]


def _idle_precedences(reach: Reach) -> Iterator[Finding]:
    found = list(_waitings(reach))
    for waiting in found:
        if not waiting.first:
            yield _problem(reach, waiting.rule, 'never holds anything back: "first" is about no treatment')
        elif not waiting.those and reach.about[waiting.rule.place]:
            yield _problem(reach, waiting.rule, 'never holds anything back: all of it is in "first"')
    after = {
        waiting.rule.place: [other.rule.place for other in found if waiting.first & other.those]
        for waiting in found
    }
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        circle = [reach.rules[place] for place in sorted(set(error.args[1]))]
        others = listed([named(rule) for rule in circle[:-1]])
        yield _problem(reach, circle[-1], f"waits in a circle with {others}")


def _waitings(reach: Reach) -> Iterator[_Waiting]:
    facts = {
        (action_id, treatment_id): facts_of(action_id, action, treatment_id, treatment)
        for action_id, action, treatment_id, treatment in reach.playbook.treatments()
    }
    for rule in reach.rules.values():
        if isinstance(rule.rule, Precedence):
            first = frozenset(place for place, its in facts.items() if is_about(rule.rule.first, its))
            yield _Waiting(rule, frozenset(reach.about[rule.place]) - first, first)


def _problem(reach: Reach, rule: CompiledRule, message: str) -> Finding:
    file, path = reach.locations[rule.place]
    return Finding(file=file, path=path, message=f"{named(rule)} {message}", is_problem=True)
