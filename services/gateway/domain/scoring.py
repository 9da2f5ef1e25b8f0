"""From named numbers to the matrix that the model was trained on, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.engine.features.feature_set import FeatureSet
from services.engine.features.schema import fingerprint
from services.gateway.domain.knowledge import Cause, Degradation, Model, ServedBy, Unavailable, Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The level at which candidates got their propensities, and what the model was shown."""

    served_by: ServedBy
    degradations: tuple[Degradation, ...] = ()
    model_version: str = ""
    fingerprint: str = ""
    customer_vector: bytes = b""


def level(*, has_features: bool, is_stale: bool, knows_model: bool) -> ServedBy:
    """Return the best level for what is known: the model with features, else base rates, else rules."""
    if has_features:
        return ServedBy.LAST_GOOD_FEATURES if is_stale else ServedBy.MODEL
    return ServedBy.PRIORS if knows_model else ServedBy.RULES


def verify_layout(model: Model, features: FeatureSet, declared: Mapping[str, str]) -> None:
    """Check that every column of the model means what this playbook means.

    ``declared`` maps feature names to definition hashes.

    Raises:
        Unavailable: a feature is unknown, was redefined since training, or changed its scope, or
            the fingerprint is of another layout.
    """
    if fingerprint(model.layout) != model.fingerprint:
        raise Unavailable(Cause.MISMATCH, "the model's fingerprint is not that of its layout")
    for name, digest, is_candidate in model.layout:
        if name not in declared:
            raise Unavailable(Cause.MISMATCH, f'the model needs feature "{name}", which the playbook lacks')
        if features.layout([name]) != [(name, digest, is_candidate)]:
            raise Unavailable(Cause.MISMATCH, f'feature "{name}" was redefined since the model was trained')


def matrices(
    model: Model, customer: Mapping[str, float], candidates: Sequence[Mapping[str, float]]
) -> tuple[Vector, Vector]:
    """Arrange numbers in the model's order: one customer vector, one row for each candidate.

    A feature without a number is NaN.
    """
    of_customer = [name for name, _, is_candidate in model.layout if not is_candidate]
    of_candidate = [name for name, _, is_candidate in model.layout if is_candidate]
    rows = [[numbers.get(name, math.nan) for name in of_candidate] for numbers in candidates]
    return (
        np.array([customer.get(name, math.nan) for name in of_customer], dtype=np.float64),
        np.array(rows, dtype=np.float64).reshape(len(candidates), len(of_candidate)),
    )
