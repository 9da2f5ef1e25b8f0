"""A dataset: one folder of labelled rows, whose identity is its content.

``rows.parquet`` holds the columns of ``COLUMNS`` and then one float64 column for each feature,
NaN where it is missing. ``dataset.json`` says what the columns mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from services.engine.features.schema import fingerprint
from training.configuration import Configuration
from training.data.identity import content_hash
from training.refusal import Refused

COLUMNS = ("customer_id", "action_id", "group", "exposure_time", "outcome_closed_time", "label")
TEXT_COLUMNS = COLUMNS[:3]
ROWS_FILE = "rows.parquet"
META_FILE = "dataset.json"

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFeature:
    """One column of a model's layout."""

    name: str
    definition_hash: str
    candidate: bool


def layout_fingerprint(features: Iterable[ModelFeature]) -> str:
    """Identify an ordered layout, as every service does."""
    return fingerprint((feature.name, feature.definition_hash, feature.candidate) for feature in features)


class Former(Configuration):
    """What a folder's dataset was before: with more rows, of customers who were erased, or another one."""

    dataset_id: str
    erasure_id: str = ""
    """The erasure that made another dataset of it; empty where it was built anew."""


class DatasetMeta(Configuration):
    """The content of ``dataset.json``; ``former`` is what the folder held before, the oldest first."""

    format: Literal[1] = 1
    playbook_version: str
    feature_set_version: str
    features: tuple[ModelFeature, ...]
    dataset_id: str
    source: str
    rows: int
    positives: int
    as_of_time: datetime
    former: tuple[Former, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows in (exposure time, customer, action) order, and what they mean.

    ``frame`` may hold fewer rows than the folder, so counts come from it, not from ``meta``.
    """

    frame: pd.DataFrame
    meta: DatasetMeta
    folder: Path

    @property
    def name(self) -> str:
        """What people call it: the name of its folder."""
        return self.folder.resolve().name

    @property
    def features(self) -> tuple[ModelFeature, ...]:
        """The layout: customer features first, then candidate features."""
        return self.meta.features

    @property
    def feature_names(self) -> list[str]:
        """The names of the layout, in order."""
        return [feature.name for feature in self.features]

    @property
    def schema_fingerprint(self) -> str:
        """The identity of the layout."""
        return layout_fingerprint(self.features)

    def matrix(self, names: Sequence[str] | None = None) -> Matrix:
        """Lay out rows as float64 in C order; ``names`` are the dataset's own features by default."""
        columns = self.feature_names if names is None else list(names)
        return np.ascontiguousarray(self.frame[columns].to_numpy(dtype=np.float64))

    def labels(self) -> npt.NDArray[np.int8]:
        """Tell for each row whether the outcome followed, as 0 or 1."""
        return self.frame["label"].to_numpy(dtype=np.int8)

    def times(self, column: str) -> npt.NDArray[np.int64]:
        """Read ``exposure_time`` or ``outcome_closed_time`` in microseconds UTC."""
        return self.frame[column].to_numpy(dtype=np.int64)

    def select(self, keep: npt.NDArray[np.bool_]) -> Dataset:
        """Return the dataset with only the rows marked; it keeps its name and identity."""
        return Dataset(frame=self.frame[keep].reset_index(drop=True), meta=self.meta, folder=self.folder)


def write_dataset(
    folder: Path,
    frame: pd.DataFrame,
    features: Sequence[ModelFeature],
    *,
    playbook_version: str,
    feature_set_version: str,
    source: str,
    as_of_time: datetime,
) -> Dataset:
    """Check rows, order them and keep them in ``folder``, replacing the dataset that it held.

    The order of the rows given does not matter: the same rows make the same ``dataset_id``.

    Raises:
        Refused: a column is absent, unknown or of the wrong kind, or a value cannot be.
    """
    frame = _ordered(_checked(frame, features, folder))
    dataset_id = identify(frame, features, playbook_version, feature_set_version)
    meta = DatasetMeta(
        playbook_version=playbook_version,
        feature_set_version=feature_set_version,
        features=tuple(features),
        dataset_id=dataset_id,
        source=source,
        rows=len(frame),
        positives=int(frame["label"].sum()),
        as_of_time=as_of_time,
        former=_former(folder, dataset_id),
    )
    folder.mkdir(parents=True, exist_ok=True)
    # Without its description a folder is no dataset, so an interrupted write is never read.
    (folder / META_FILE).unlink(missing_ok=True)
    frame.to_parquet(folder / ROWS_FILE, index=False)
    (folder / META_FILE).write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return Dataset(frame=frame, meta=meta, folder=folder)


def read_dataset(folder: Path) -> Dataset:
    """Read a dataset and verify that its content still has the identity it was written with.

    Raises:
        Refused: the folder holds no dataset, or its content is not what its description says.
    """
    for name in (META_FILE, ROWS_FILE):
        if not (folder / name).is_file():
            raise Refused(f"{folder} holds no dataset: {name} is missing")
    try:
        meta = _meta(folder)
        frame = pd.read_parquet(folder / ROWS_FILE)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(f"{folder / META_FILE}: {_path(first['loc'])}: {first['msg']}") from None
    except (OSError, ValueError) as error:
        raise Refused(f"{folder / ROWS_FILE} cannot be read: {error}") from None
    frame = _checked(frame, meta.features, folder)
    found = identify(frame, meta.features, meta.playbook_version, meta.feature_set_version)
    if found != meta.dataset_id:
        raise Refused(
            f"{folder} was changed after it was written: it hashes to {found}, not {meta.dataset_id}"
        )
    return Dataset(frame=frame, meta=meta, folder=folder)


def identify(frame: pd.DataFrame, features: Sequence[ModelFeature], playbook: str, feature_set: str) -> str:
    """Return the identity of checked and ordered rows."""
    header: dict[str, Any] = {
        "playbook_version": playbook,
        "feature_set_version": feature_set,
        "features": [asdict(feature) for feature in features],
    }
    return content_hash(json.dumps(header, sort_keys=True), frame)


def _meta(folder: Path) -> DatasetMeta:
    return DatasetMeta.model_validate_json((folder / META_FILE).read_bytes())


def _former(folder: Path, dataset_id: str) -> tuple[Former, ...]:
    """Return what a folder held before another dataset takes its place."""
    try:
        before = _meta(folder)
    except (OSError, ValidationError):
        return ()
    if before.dataset_id == dataset_id:
        return before.former
    return (*before.former, Former(dataset_id=before.dataset_id))


def _checked(frame: pd.DataFrame, features: Sequence[ModelFeature], folder: Path) -> pd.DataFrame:
    names = [feature.name for feature in features]
    if len(set(names)) < len(names) or set(names) & set(COLUMNS):
        raise Refused(f"{folder}: feature names must be unique and none of {', '.join(COLUMNS)}")
    if [feature.candidate for feature in features] != sorted(feature.candidate for feature in features):
        raise Refused(f"{folder}: customer features must come before candidate features")
    if difference := set(frame.columns) ^ {*COLUMNS, *names}:
        raise Refused(f"{folder}: columns absent or unknown: {', '.join(sorted(difference))}")
    frame = frame[[*COLUMNS, *names]]
    if absent := [name for name in COLUMNS if frame[name].isna().any()]:
        raise Refused(f"{folder}: missing values in {', '.join(absent)}")
    if not frame["label"].isin((0, 1)).all():
        raise Refused(f"{folder}: label must be 0 or 1")
    try:
        frame = frame.astype(
            dict.fromkeys(TEXT_COLUMNS, "str")
            | {"exposure_time": "int64", "outcome_closed_time": "int64", "label": "int8"}
            | dict.fromkeys(names, "float64")
        )
    except (TypeError, ValueError) as error:
        raise Refused(f"{folder}: {error}") from None
    if (frame["outcome_closed_time"] < frame["exposure_time"]).any():
        raise Refused(f"{folder}: outcome_closed_time lies before exposure_time")
    infinite = np.isinf(frame[names].to_numpy()).any(axis=0)
    if infinite.any():
        raise Refused(f"{folder}: infinite values in {', '.join(np.array(names)[infinite])}")
    return frame


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(
        ["exposure_time", "customer_id", "action_id", "outcome_closed_time", "label"],
        kind="stable",
        ignore_index=True,
    )


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))
