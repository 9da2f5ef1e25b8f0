"""Feature vectors on record, laid out as another playbook has them: by name and meaning, never by place."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
from tact.log.v1 import decision_record_pb2 as log_pb

from services.engine.features import expression
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.expressions import Formula
from services.engine.playbook.formulas import inputs
from services.gateway.domain.making import Edition


class Relaying:
    """Turns vectors of one layout into those of an edition.

    A feature of the same name and definition keeps its number. An expression whose inputs are there is
    computed from them. Everything else is NaN: missing. ``layout`` is None where nobody knows it.
    """

    def __init__(self, layout: FeatureSet | None, edition: Edition) -> None:
        self._layout = layout
        self._edition = edition
        features = edition.feature_set
        self._customer = _formulas(edition, features.customer_names, self._kept)
        there = {*self._kept, *self._customer}
        self._candidate = _formulas(edition, features.candidate_names, there)

    @cached_property
    def held(self) -> frozenset[str]:
        """Return the names of the edition's features that the vectors tell."""
        return frozenset({*self._kept, *self._customer, *self._candidate})

    @cached_property
    def rows(self) -> frozenset[str]:
        """Return the names of those that differ from action to action."""
        return self.held & frozenset(self._edition.feature_set.candidate_names)

    @property
    def is_needless(self) -> bool:
        """Tell whether both layouts are the same."""
        wanted = self._edition.feature_set.served_fingerprint
        return self._layout is not None and self._layout.served_fingerprint == wanted

    def apply(self, record: log_pb.DecisionRecord) -> None:
        """Replace the vectors of a record that holds features."""
        wanted = self._edition.feature_set
        numbers = self._numbers(wanted.customer_names, self._names(0), record.feature_vector)
        self._compute(self._customer, numbers, {})
        ages = self._numbers(wanted.customer_names, self._names(0), record.feature_ages)
        for candidate in record.candidates:
            if candidate.feature_row:
                own = self._numbers(wanted.candidate_names, self._names(1), candidate.feature_row)
                self._compute(self._candidate, own, numbers)
                candidate.feature_row = _vector(own[name] for name in wanted.candidate_names)
        record.feature_vector = _vector(numbers[name] for name in wanted.customer_names)
        record.feature_ages = _vector(ages[name] for name in wanted.customer_names)
        record.feature_fingerprint = wanted.served_fingerprint

    @cached_property
    def _kept(self) -> frozenset[str]:
        if self._layout is None:
            return frozenset()
        had = [*self._layout.customer_names, *self._layout.candidate_names]
        wanted = self._edition.feature_set
        served = {*wanted.customer_names, *wanted.candidate_names}
        return frozenset(n for n in had if n in served and self._layout.layout([n]) == wanted.layout([n]))

    def _names(self, scope: int) -> Sequence[str]:
        if self._layout is None:
            return ()
        return (self._layout.customer_names, self._layout.candidate_names)[scope]

    def _numbers(self, wanted: Iterable[str], names: Sequence[str], vector: bytes) -> dict[str, float]:
        found = dict.fromkeys(wanted, math.nan)
        if names:
            had = zip(names, np.frombuffer(vector, "<f8").tolist(), strict=True)
            found.update((name, number) for name, number in had if name in self._kept)
        return found

    def _compute(
        self, formulas: Mapping[str, Formula], numbers: dict[str, float], shared: Mapping[str, float]
    ) -> None:
        environment = self._edition.playbook.environment
        for name, formula in formulas.items():
            numbers[name] = expression.compute(formula, environment, {**shared, **numbers})


def _formulas(edition: Edition, wanted: Collection[str], there: Collection[str]) -> dict[str, Formula]:
    """Return the expressions that can be computed from what is there, each after those it reads."""
    found: dict[str, Formula] = {}
    for name, formula in edition.playbook.formulas.items():
        if name in wanted and name not in there and inputs(formula) <= {*there, *found}:
            found[name] = formula
    return found


def _vector(numbers: Iterable[float]) -> bytes:
    return np.fromiter(numbers, dtype="<f8").tobytes()
