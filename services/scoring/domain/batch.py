"""All candidates of all items as one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.scoring.domain.bundle import Matrix, Vector

FLOAT_BYTES = 8

Violation = tuple[str, str]
"""A field of an item, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ScoreItem:
    """The candidates of one decision, as little-endian float64; nothing is checked."""

    customer_vector: bytes
    candidate_vectors: bytes
    candidates: int


@dataclass(frozen=True, slots=True)
class Invalid:
    """Why an item cannot be scored; lists every violation."""

    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """One row for each candidate of each valid item, and which rows are whose, in item order."""

    matrix: Matrix
    places: Sequence[slice | Invalid]

    def deal(self, scores: Vector) -> list[Vector | Invalid]:
        """Give each item the scores of its rows."""
        return [scores[place] if isinstance(place, slice) else place for place in self.places]


def lay_out(items: Sequence[ScoreItem], customer_features: int, candidate_features: int) -> Batch:
    """Put the customer's vector and then the candidate's into each candidate's row.

    A NaN is a missing value. An item whose vectors have another length or hold an infinity gets
    no score, and does not affect the others.
    """
    places: list[slice | Invalid] = []
    rows = 0
    for item in items:
        if found := _violations(item, customer_features, candidate_features):
            places.append(Invalid(tuple(found)))
        else:
            places.append(slice(rows, rows + item.candidates))
            rows += item.candidates
    matrix = np.empty((rows, customer_features + candidate_features))
    for item, place in zip(items, places, strict=True):
        if isinstance(place, slice):
            matrix[place, :customer_features] = np.frombuffer(item.customer_vector, "<f8")
            candidates = np.frombuffer(item.candidate_vectors, "<f8")
            matrix[place, customer_features:] = candidates.reshape(item.candidates, candidate_features)
    return Batch(matrix, _without_infinite(items, matrix, places))


def _violations(item: ScoreItem, customer_features: int, candidate_features: int) -> list[Violation]:
    if item.candidates < 0:
        return [("candidates", f"must not be negative, not {item.candidates}")]
    lengths = (
        ("customer_vector", len(item.customer_vector), customer_features),
        ("candidate_vectors", len(item.candidate_vectors), candidate_features * item.candidates),
    )
    return [
        (field, f"must hold {numbers} float64 in {numbers * FLOAT_BYTES} bytes, not {found} bytes")
        for field, found, numbers in lengths
        if found != numbers * FLOAT_BYTES
    ]


def _without_infinite(
    items: Sequence[ScoreItem], matrix: Matrix, places: list[slice | Invalid]
) -> Sequence[slice | Invalid]:
    # An item without candidates has no row, so its vector does not show in the matrix.
    if not np.isinf(matrix).any() and all(item.candidates for item in items):
        return places
    return [
        Invalid(tuple(found)) if isinstance(place, slice) and (found := _infinite(item)) else place
        for item, place in zip(items, places, strict=True)
    ]


def _infinite(item: ScoreItem) -> list[Violation]:
    vectors = (("customer_vector", item.customer_vector), ("candidate_vectors", item.candidate_vectors))
    return [
        (field, "must not hold an infinity; NaN means missing")
        for field, vector in vectors
        if np.isinf(np.frombuffer(vector, "<f8")).any()
    ]
