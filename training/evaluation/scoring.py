"""Applying a bundle to the rows of a dataset."""

from __future__ import annotations

from services.engine.instants import microseconds
from training.bundle.reader import Bundle
from training.data.dataset import Dataset
from training.evaluation.metrics import Vector
from training.refusal import Refused


def bundle_scores(bundle: Bundle, dataset: Dataset) -> Vector:
    """Score every row; the dataset may hold more features, in any order.

    Raises:
        Refused: a feature of the model is absent, or is defined otherwise than when it was trained.
    """
    held = {feature.name: feature for feature in dataset.features}
    if other := [feature.name for feature in bundle.manifest.features if held.get(feature.name) != feature]:
        raise Refused(
            f"{dataset.folder}: features absent or defined otherwise than in the model: {', '.join(other)}"
        )
    return bundle.scores(dataset.matrix(bundle.feature_names))


def seen_rows(bundle: Bundle, dataset: Dataset) -> int:
    """Count rows not exposed after the last exposure that the model learned from."""
    last = microseconds(bundle.manifest.trained_until_time)
    return int((dataset.times("exposure_time") <= last).sum())
