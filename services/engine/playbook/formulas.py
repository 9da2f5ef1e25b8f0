"""Features that are computed from other features: what they read, and in which order they follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Final

from services.engine.playbook import kinds
from services.engine.playbook.expressions import KNOWN, Environment, ExpressionError, Formula
from services.engine.playbook.schema.attributes import EventsFile, ProfileFile

FEATURE: Final = "feature."


def compile_formulas(
    features: Mapping[str, kinds.AnyFeature],
    environment: Environment,
    report: Callable[[str, str, str], None],
) -> Mapping[str, Formula]:
    """Return the formula of each expression after those that it reads, by name where that leaves a choice.

    What is wrong goes to ``report`` as (feature, message, name that is wrong): text that does not
    compile, names of anything but features of events and expressions, expressions that read each
    other in a circle.
    """
    formulas: dict[str, Formula] = {}
    for name, definition in sorted(features.items()):
        if isinstance(definition, kinds.ExpressionFeature):
            try:
                formulas[name] = environment.formula(definition.expression)
            except ExpressionError as error:
                report(name, str(error), error.name)
    for name, formula in formulas.items():
        for message, wrong in _unfit(formula, features):
            report(name, message, wrong)
    graph = {name: sorted(formulas.keys() & inputs(formula)) for name, formula in formulas.items()}
    try:
        return {name: formulas[name] for name in TopologicalSorter(graph).static_order()}
    except CycleError as error:
        # graphlib lists each before those that read it.
        circle: list[str] = error.args[1][::-1]
        report(circle[0], f"it is computed from itself: {' reads '.join(circle)}", "")
        return {}


def inputs(formula: Formula) -> frozenset[str]:
    """Return the names of the features that a formula reads, or asks whether they are known."""
    return frozenset(read.removeprefix(KNOWN).removeprefix(FEATURE) for read in formula.reads)


def consents(
    features: Mapping[str, kinds.AnyFeature],
    formulas: Mapping[str, Formula],
    profile: ProfileFile,
    events: EventsFile,
) -> Mapping[str, frozenset[str]]:
    """Return the purposes whose consent each feature needs; those that need none are left out.

    ``formulas`` stand after those that they read.
    """
    needed: dict[str, frozenset[str]] = {}
    for name, definition in features.items():
        purposes: list[str | None] = []
        if isinstance(definition, kinds.EventDefinition):
            purposes = [events.events[event].consent for event in definition.event_types]
        elif isinstance(definition, kinds.ProfileFeature):
            purposes = [profile.attributes[definition.attribute].consent]
        if own := frozenset(purpose for purpose in purposes if purpose is not None):
            needed[name] = own
    for name, formula in formulas.items():
        if union := frozenset().union(*(needed.get(read, ()) for read in inputs(formula))):
            needed[name] = union
    return needed


def candidates(features: Mapping[str, kinds.AnyFeature], formulas: Mapping[str, Formula]) -> frozenset[str]:
    """Return the features that differ from action to action."""
    found = {n for n, d in features.items() if isinstance(d, kinds.Affinity | kinds.ActionFeature)}
    for name, formula in formulas.items():
        if not found.isdisjoint(inputs(formula)):
            found.add(name)
    return frozenset(found)


def _unfit(formula: Formula, features: Mapping[str, kinds.AnyFeature]) -> list[tuple[str, str]]:
    """Say what a formula reads besides the features that the feature service computes."""
    if not formula.reads:
        return [("it reads no feature", "")]
    known = {FEATURE + name for name, definition in features.items() if kinds.is_served(definition)}
    return [
        (f'it reads "{name}"; an expression reads only features of events and other expressions', name)
        for name in sorted({read.removeprefix(KNOWN) for read in formula.reads} - known)
    ]
