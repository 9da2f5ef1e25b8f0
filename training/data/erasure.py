"""Takes the rows of customers out of datasets."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from training.data.dataset import META_FILE, ROWS_FILE, Dataset, Former, identify, read_dataset
from training.data.folders import folders_with

_NEW: Final = ".new"


def dataset_folders(*roots: Path) -> list[Path]:
    """Return every folder at or below the roots that holds a dataset, or part of one.

    Raises:
        OSError: a folder cannot be read.
    """
    return sorted(folders_with((ROWS_FILE, META_FILE), *roots))


def read_finished(folder: Path) -> Dataset:
    """Read a dataset, after finishing an erasure that broke off.

    Raises:
        Refused: the folder holds no whole dataset.
    """
    rows, meta = (folder / f"{name}{_NEW}" for name in (ROWS_FILE, META_FILE))
    # The description is written last and takes its place last: alone, it lacks only that.
    if meta.is_file() and not rows.is_file():
        meta.replace(folder / META_FILE)
    for unfinished in (meta, rows):
        unfinished.unlink(missing_ok=True)
    return read_dataset(folder)


def rows_of(dataset: Dataset, customer_ids: Collection[str]) -> int:
    """Count the rows of customers."""
    return int(dataset.frame["customer_id"].isin(list(customer_ids)).sum())


def erase_rows(folder: Path, customer_ids: Collection[str], erasure_id: str) -> Dataset:
    """Take the rows of customers out of a dataset, which gets another id; its former one is kept with it.

    What breaks off is finished by the next ``read_finished`` or left undone whole. Without such
    rows nothing changes.

    Raises:
        Refused: the folder holds no whole dataset.
    """
    dataset = read_finished(folder)
    if not rows_of(dataset, customer_ids):
        return dataset
    meta = dataset.meta
    frame = dataset.frame[~dataset.frame["customer_id"].isin(list(customer_ids))].reset_index(drop=True)
    meta = meta.model_copy(
        update={
            "dataset_id": identify(frame, meta.features, meta.playbook_version, meta.feature_set_version),
            "rows": len(frame),
            "positives": int(frame["label"].sum()),
            "former": (*meta.former, Former(dataset_id=meta.dataset_id, erasure_id=erasure_id)),
        }
    )
    frame.to_parquet(folder / f"{ROWS_FILE}{_NEW}", index=False)
    _sync(folder / f"{ROWS_FILE}{_NEW}")
    (folder / f"{META_FILE}{_NEW}").write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")
    _sync(folder / f"{META_FILE}{_NEW}")
    for name in (ROWS_FILE, META_FILE):
        (folder / f"{name}{_NEW}").replace(folder / name)
        _sync(folder)
    return Dataset(frame=frame, meta=meta, folder=folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
