"""All the features of one playbook, ready to compute."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.engine.features import (
    affinity,
    count,
    decayed,
    distinct,
    expression,
    first,
    freshness,
    interval,
    last,
    max,
    mean,
    min,
    open,
    rate,
    recency,
    sum,
)
from services.engine.features.history import History
from services.engine.features.schema import fingerprint
from services.engine.playbook import kinds, values
from services.engine.playbook.expressions import Formula
from services.engine.playbook.formulas import inputs
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.values import Value
from services.engine.playbook.variables import LOCAL_TIME

_MICROSECOND: Final = timedelta(microseconds=1)

Vector = NDArray[np.float64]
_Plan = tuple[Mapping[str, kinds.EventDefinition], Mapping[str, Formula]]

KINDS: Final[Mapping[type[kinds.EventDefinition], Callable[..., float]]] = {
    kinds.Count: count.compute,
    kinds.Sum: sum.compute,
    kinds.Mean: mean.compute,
    kinds.Min: min.compute,
    kinds.Max: max.compute,
    kinds.First: first.compute,
    kinds.Last: last.compute,
    kinds.Rate: rate.compute,
    kinds.Recency: recency.compute,
    kinds.Open: open.compute,
    kinds.Interval: interval.compute,
    kinds.Distinct: distinct.compute,
    kinds.Decayed: decayed.compute,
    kinds.Affinity: affinity.compute,
}


class FeatureSet:
    """Computes a playbook's features; pure, and the same for serving and training.

    ``customer_names`` and ``candidate_names`` are the features that need only events, expressions over
    them included, in the order of their vectors, by name, so that playbooks of one version have one
    layout however their files are ordered;
    ``served_fingerprint`` identifies that layout, ``version`` all the features of the playbook.
    ``reach`` tells how far back they look at the events of each type, in microseconds, None for ever.
    """

    def __init__(self, playbook: Playbook) -> None:
        self._playbook = playbook
        names = sorted(playbook.features)
        served = [name for name in names if kinds.is_served(playbook.features[name])]
        varying = playbook.candidate_features
        self.customer_names = tuple(name for name in served if name not in varying)
        self.candidate_names = tuple(name for name in served if name in varying)
        self._customer = self._plan(self.customer_names)
        self._shared = self._plan(self._read_for_candidates())
        self._affinities = {n: d for n in names if isinstance(d := playbook.features[n], kinds.Affinity)}
        self._varying_formulas = {n: f for n, f in playbook.formulas.items() if n in varying}
        self._defaults = {
            name: definition.default
            for name, definition in playbook.features.items()
            if isinstance(definition, kinds.ServedDefinition) and definition.default is not None
        }
        self._weights = {
            action_id: [affinity.weights(d, action_id, action) for d in self._affinities.values()]
            for action_id, action in playbook.actions.items()
        }
        self._action_values = {action_id: self._of_action(action_id) for action_id in playbook.actions}
        self.reach = _reach(playbook.features.values())
        self.version = fingerprint(self.layout(names))
        self.served_fingerprint = fingerprint(self.layout((*self.customer_names, *self.candidate_names)))

    def layout(self, names: Iterable[str]) -> list[tuple[str, str, bool]]:
        """Return (name, definition hash, is candidate) for each name, in the given order."""
        hashes, varying = self._playbook.definition_hashes, self._playbook.candidate_features
        return [(name, hashes[name], name in varying) for name in names]

    def customer_vector(self, history: History, as_of: int) -> Vector:
        """Return the features of a customer as of a time, NaN where missing without a default."""
        numbers = self._compute(self._customer, history, as_of)
        return np.array([numbers[name] for name in self.customer_names], dtype=np.float64)

    def customer_ages(self, history: History, as_of: int) -> Vector:
        """Return, for each customer feature, the seconds since the newest event in its window.

        NaN where there is none. An expression has the smallest age of the features that it reads. Where a
        value is too old, or its default stands in for it, the age is the same.
        """
        events, formulas = self._customer
        ages = dict.fromkeys(events, math.nan)
        for name, definition in events.items():
            if (age := freshness.age(definition, history, as_of)) is not None:
                ages[name] = age / 1e6
        for name, formula in formulas.items():
            ages[name] = expression.age(formula, ages)
        return np.array([ages[name] for name in self.customer_names], dtype=np.float64)

    def candidate_vectors(self, history: History, as_of: int, action_ids: Sequence[str]) -> Vector:
        """Return one row of features for each action, NaN where missing without a default.

        Raises:
            KeyError: an action is not in the playbook.
        """
        rows = np.empty((len(action_ids), len(self.candidate_names)))
        numbers = self._compute(self._shared, history, as_of)
        too_old = {n for n, d in self._affinities.items() if freshness.is_too_old(d, history, as_of)}
        for row, action_id in enumerate(action_ids):
            for (name, d), wanted in zip(self._affinities.items(), self._weights[action_id], strict=True):
                number = math.nan
                if wanted is not None and name not in too_old:
                    series = history.of(d.event).where(d.where)
                    number = affinity.compute(d, self._playbook, series, as_of, wanted)
                numbers[name] = self._or_default(name, number)
            self._evaluate(self._varying_formulas, numbers)
            rows[row] = [numbers[name] for name in self.candidate_names]
        return rows

    def profile_values(self, attributes: Mapping[str, Value]) -> dict[str, float]:
        """Return the profile features; a missing attribute is NaN."""
        return self._of_attributes(kinds.ProfileFeature, self._playbook.profile.attributes, attributes)

    def context_values(self, attributes: Mapping[str, Value], local: Mapping[str, int]) -> dict[str, float]:
        """Return the context features; ``local`` is the decision's local time, as far as it is known."""
        found = self._of_attributes(kinds.ContextFeature, self._playbook.head.context, attributes)
        for name, definition in self._playbook.features.items():
            if isinstance(definition, kinds.ContextFeature) and definition.attribute in LOCAL_TIME:
                found[name] = float(local.get(definition.attribute, math.nan))
        return found

    def action_values(self, action_id: str) -> Mapping[str, float]:
        """Return the action features; a missing attribute is NaN."""
        return self._action_values[action_id]

    def _plan(self, names: Collection[str]) -> _Plan:
        declared, formulas = self._playbook.features, self._playbook.formulas
        events = {n: d for n in names if isinstance(d := declared[n], kinds.EventDefinition)}
        return events, {n: formula for n, formula in formulas.items() if n in names}

    def _read_for_candidates(self) -> set[str]:
        """Return the customer features that expressions of candidates read, through any others."""
        read: set[str] = set()
        for name, formula in reversed(list(self._playbook.formulas.items())):
            if name in read or name in self._playbook.candidate_features:
                read |= inputs(formula)
        return read - self._playbook.candidate_features

    def _compute(self, plan: _Plan, history: History, as_of: int) -> dict[str, float]:
        events, formulas = plan
        numbers: dict[str, float] = {}
        for name, d in events.items():
            if d.max_age is not None and freshness.is_too_old(d, history, as_of):
                number = math.nan
            elif isinstance(d, kinds.Open):
                number = open.compute(d, history, as_of)
            else:
                number = KINDS[type(d)](d, self._playbook, history.of(d.event).where(d.where), as_of)
            numbers[name] = self._or_default(name, number)
        self._evaluate(formulas, numbers)
        return numbers

    def _evaluate(self, formulas: Mapping[str, Formula], numbers: dict[str, float]) -> None:
        """Add the numbers of formulas to those that they read."""
        for name, formula in formulas.items():
            number = expression.compute(formula, self._playbook.environment, numbers)
            numbers[name] = self._or_default(name, number)

    def _or_default(self, name: str, number: float) -> float:
        return self._defaults.get(name, number) if math.isnan(number) else number

    def _of_action(self, action_id: str) -> dict[str, float]:
        declared, present = self._playbook.catalogue.attributes, self._playbook.action_attributes[action_id]
        numeric = {name: value for name, value in present.items() if not isinstance(value, datetime)}
        return self._of_attributes(kinds.ActionFeature, declared, numeric)

    def _of_attributes(
        self, kind: type[Any], declared: Mapping[str, Any], present: Mapping[str, Value]
    ) -> dict[str, float]:
        return {
            name: values.as_number(declared[d.attribute], present[d.attribute])
            if d.attribute in present
            else math.nan
            for name, d in self._playbook.features.items()
            if isinstance(d, kind)
        }


def _reach(definitions: Iterable[kinds.AnyFeature]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for definition in definitions:
        if isinstance(definition, kinds.EventDefinition):
            back = None if definition.window is None else definition.window // _MICROSECOND
            for event_type in definition.event_types:
                found[event_type] = farther(back, found.get(event_type, 0))
    return found


def farther(one: int | None, other: int | None) -> int | None:
    """Return which of two looks farther back; None looks back for ever."""
    return None if one is None or other is None else builtins.max(one, other)
