"""All the features of one playbook, ready to compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.engine.features import affinity, count, distinct, last, mean, recency, sum
from services.engine.features.history import History
from services.engine.features.schema import fingerprint
from services.engine.playbook import kinds, values
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.values import Value

Vector = NDArray[np.float64]

KINDS: Final[Mapping[type[kinds.EventDefinition], Callable[..., float]]] = {
    kinds.Count: count.compute,
    kinds.Sum: sum.compute,
    kinds.Mean: mean.compute,
    kinds.Last: last.compute,
    kinds.Recency: recency.compute,
    kinds.Distinct: distinct.compute,
    kinds.Affinity: affinity.compute,
}


class FeatureSet:
    """Computes a playbook's features; pure, and the same for serving and training.

    ``customer_names`` and ``candidate_names`` are the event features in the order of their vectors, by
    name, so that playbooks of one version have one layout however their files are ordered;
    ``served_fingerprint`` identifies that layout, ``version`` all the features of the playbook.
    """

    def __init__(self, playbook: Playbook) -> None:
        self._playbook = playbook
        names = sorted(playbook.features)
        events = {n: d for n in names if isinstance(d := playbook.features[n], kinds.EventDefinition)}
        self._customer = {n: d for n, d in events.items() if not isinstance(d, kinds.Affinity)}
        self._candidate = {n: d for n, d in events.items() if isinstance(d, kinds.Affinity)}
        self.customer_names = tuple(self._customer)
        self.candidate_names = tuple(self._candidate)
        self._weights = {
            action_id: [affinity.weights(d, action_id, action) for d in self._candidate.values()]
            for action_id, action in playbook.actions.items()
        }
        self._action_values = {action_id: self._of_action(action_id) for action_id in playbook.actions}
        self.version = fingerprint(self.layout(names))
        self.served_fingerprint = fingerprint(self.layout((*self.customer_names, *self.candidate_names)))

    def layout(self, names: Iterable[str]) -> list[tuple[str, str, bool]]:
        """Return (name, definition hash, is candidate) for each name, in the given order."""
        declared, hashes = self._playbook.features, self._playbook.definition_hashes
        return [(name, hashes[name], kinds.is_candidate(declared[name])) for name in names]

    def customer_vector(self, history: History, as_of: int) -> Vector:
        """Return the event features of a customer as of a time, NaN where missing."""
        playbook = self._playbook
        return np.array(
            [
                KINDS[type(d)](d, playbook, history.of(d.event).where(d.where), as_of)
                for d in self._customer.values()
            ],
            dtype=np.float64,
        )

    def customer_ages(self, history: History, as_of: int) -> Vector:
        """Return, for each customer feature, the seconds since the newest event in its window."""
        ages = np.full(len(self._customer), math.nan)
        for index, definition in enumerate(self._customer.values()):
            series = history.of(definition.event).where(definition.where)
            start, end = series.bounds(as_of, definition.window)
            if start < end:
                ages[index] = (as_of - series.times[end - 1]) / 1e6
        return ages

    def candidate_vectors(self, history: History, as_of: int, action_ids: Sequence[str]) -> Vector:
        """Return one row of event features for each action, NaN where missing.

        Raises:
            KeyError: an action is not in the playbook.
        """
        rows = np.full((len(action_ids), len(self._candidate)), math.nan)
        for row, action_id in enumerate(action_ids):
            weights = self._weights[action_id]
            for column, (d, wanted) in enumerate(zip(self._candidate.values(), weights, strict=True)):
                if wanted is not None:
                    series = history.of(d.event).where(d.where)
                    rows[row, column] = affinity.compute(d, self._playbook, series, as_of, wanted)
        return rows

    def profile_values(self, attributes: Mapping[str, Value]) -> dict[str, float]:
        """Return the profile features; a missing attribute is NaN."""
        return self._of_attributes(kinds.ProfileFeature, self._playbook.profile.attributes, attributes)

    def context_values(self, attributes: Mapping[str, Value], local: datetime) -> dict[str, float]:
        """Return the context features; ``local`` is the decision's time in the customer's zone."""
        found = self._of_attributes(kinds.ContextFeature, self._playbook.head.context, attributes)
        for name, definition in self._playbook.features.items():
            if isinstance(definition, kinds.ContextFeature) and definition.attribute in _LOCAL:
                found[name] = float(_LOCAL[definition.attribute](local))
        return found

    def action_values(self, action_id: str) -> Mapping[str, float]:
        """Return the action features; a missing attribute is NaN."""
        return self._action_values[action_id]

    def _of_action(self, action_id: str) -> dict[str, float]:
        declared = self._playbook.catalogue.attributes
        raw = self._playbook.actions[action_id].attributes
        parsed = {n: values.parse(declared[n], v) for n, v in raw.items() if declared[n].type != "weights"}
        return self._of_attributes(kinds.ActionFeature, declared, parsed)

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


_LOCAL: Final[Mapping[str, Callable[[datetime], int]]] = {
    "hour": lambda local: local.hour,
    "weekday": datetime.isoweekday,
}
