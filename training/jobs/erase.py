"""The erase job: rows of customers leave the datasets, and the models that saw them are listed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from training.configuration import Configuration
from training.data.dataset import Dataset
from training.data.erasure import dataset_folders, erase_rows, read_finished, rows_of
from training.jobs.tracking import SQLITE, default_tracking_uri, tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class EraseConfig(Configuration):
    """Whose rows to take out of which datasets."""

    customer_ids: tuple[str, ...]
    erasure_id: str
    """What names the erasure in the datasets; tells nothing of the customer."""
    roots: tuple[Path, ...]
    """Folders at and below which datasets lie."""
    tracking_uri: str | None = None
    """An MLflow store; where unset, SQLite under ``TACT_HOME``."""


class SeenBy(Configuration):
    """A run that learned from a dataset, and the version of a model that it is registered as, if it is."""

    run_id: str
    dataset_id: str
    is_certain: bool
    """False where the dataset itself is gone, so that nobody can tell whether it held the customer."""
    model: str = ""
    version: str = ""
    aliases: tuple[str, ...] = ()


class Held(Configuration):
    """A dataset that holds rows of the customers, or may have held some before it was built anew."""

    folder: Path
    dataset_id: str
    rows: int
    seen_by: tuple[SeenBy, ...]


def survey(config: EraseConfig) -> list[Held]:
    """Tell where the customers are, and what learned from them. Nothing is erased.

    What an earlier erasure took from a dataset was in it before, so what learned from it then saw
    everybody whom it holds now.

    Raises:
        Refused: a folder holds part of a dataset, or one that was damaged.
        OSError: a folder cannot be read.
    """
    datasets = [read_finished(folder) for folder in dataset_folders(*config.roots)]
    found = [(dataset, rows_of(dataset, config.customer_ids)) for dataset in datasets]
    asked = {dataset.folder: dict(_identities(dataset, rows)) for dataset, rows in found}
    seen_by = _seen_by(config.tracking_uri, {key for ids in asked.values() for key in ids})
    return [
        Held(
            folder=dataset.folder,
            dataset_id=dataset.meta.dataset_id,
            rows=rows,
            seen_by=tuple(
                one.model_copy(update={"is_certain": is_certain})
                for dataset_id, is_certain in asked[dataset.folder].items()
                for one in seen_by.get(dataset_id, ())
            ),
        )
        for dataset, rows in found
        if asked[dataset.folder]
    ]


def run(config: EraseConfig, folder: Path) -> Dataset:
    """Take the rows of the customers out of one dataset, and return what is left.

    Raises:
        Refused: the folder holds part of a dataset, or one that was damaged.
    """
    return erase_rows(folder, config.customer_ids, config.erasure_id)


def _identities(dataset: Dataset, rows: int) -> Iterator[tuple[str, bool]]:
    """Yield each id that the dataset had while it held the customers, or may have, and whether it did."""
    held: bool | None = rows > 0
    if held:
        yield dataset.meta.dataset_id, True
    for former in reversed(dataset.meta.former):
        if not former.erasure_id:
            # Built anew: what was in it before is gone.
            held = None
        if held is not False:
            yield former.dataset_id, held is True


def _seen_by(uri: str | None, dataset_ids: set[str]) -> dict[str, list[SeenBy]]:
    uri = uri or default_tracking_uri()
    # Asking would make the store.
    if not dataset_ids or (uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file()):
        return {}
    from mlflow.entities import ViewType

    with tracking(uri) as client:
        every = client.search_experiments(view_type=ViewType.ALL)
        experiments = [str(one.experiment_id) for one in every]
        return {
            dataset_id: [
                one
                for run in _runs(client, experiments, dataset_id)
                for one in _learned(client, run, dataset_id)
            ]
            for dataset_id in sorted(dataset_ids)
        }


def _runs(client: MlflowClient, experiments: list[str], dataset_id: str) -> Iterator[Run]:
    from mlflow.entities import ViewType

    token: str | None = None
    while True:
        page = client.search_runs(
            experiments, f"tags.`tact.dataset_id` = '{dataset_id}'", ViewType.ALL, page_token=token
        )
        yield from page
        if not (token := page.token):
            return


def _learned(client: MlflowClient, run: Run, dataset_id: str) -> list[SeenBy]:
    seen = SeenBy(run_id=str(run.info.run_id), dataset_id=dataset_id, is_certain=True)
    versions = client.search_model_versions(f"run_id = '{seen.run_id}'")
    return [
        seen.model_copy(
            update={
                "model": str(one.name),
                "version": str(one.version),
                "aliases": tuple(
                    sorted(
                        alias
                        for alias, version in client.get_registered_model(one.name).aliases.items()
                        if str(version) == str(one.version)
                    )
                ),
            }
        )
        for one in versions
    ] or [seen]
