"""MLflow as the jobs use it. Importing it takes seconds, so it is imported when it is needed."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.data.dataset import ROWS_FILE, Dataset

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.data.pandas_dataset import PandasDataset

SQLITE = "sqlite:///"
DIGEST_CHARS = 36
"""What MLflow keeps of a dataset's digest; the whole id is in the tag ``tact.dataset_id``."""

# MLflow reports its use to its makers unless told otherwise, greets at INFO and prints links.
QUIET: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def default_tracking_uri(environment: Mapping[str, str] = os.environ) -> str:
    """Return the MLflow store of one machine: SQLite under ``TACT_HOME``, by default ``.tact``."""
    home = Path(environment.get("TACT_HOME", ".tact")).expanduser().resolve()
    return f"{SQLITE}{home / 'mlflow' / 'mlflow.db'}"


@contextlib.contextmanager
def tracking(uri: str | None) -> Iterator[MlflowClient]:
    """Point MLflow, its fluent functions included, to a store for the length of the block."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri = uri or default_tracking_uri()
    if uri.startswith(SQLITE):
        Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    previous = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield mlflow.MlflowClient(tracking_uri=uri)
    finally:
        mlflow.set_tracking_uri(previous)


def experiment_id(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment, made where it does not exist.

    On SQLite its artifacts lie beside the database, not in the working folder as by default.
    """
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    location = None
    if client.tracking_uri.startswith(SQLITE):
        location = (Path(client.tracking_uri.removeprefix(SQLITE)).absolute().parent / "artifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def ensure_registered_model(client: MlflowClient, name: str) -> None:
    """Make the registered model where it does not exist."""
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        client.create_registered_model(name)


def as_mlflow_dataset(dataset: Dataset) -> PandasDataset:
    """Describe a dataset to MLflow under its own identity."""
    from mlflow.data.pandas_dataset import from_pandas

    with warnings.catch_warnings():
        # MLflow knows local files under two schemes and says that it cannot tell them apart.
        warnings.filterwarnings("ignore", message="The specified dataset source can be interpreted")
        return from_pandas(
            dataset.frame[[*dataset.feature_names, "label"]].astype({"label": "float64"}),
            source=(dataset.folder / ROWS_FILE).absolute().as_uri(),
            targets="label",
            name=dataset.name,
            digest=dataset.meta.dataset_id[:DIGEST_CHARS],
        )


def dataset_tags(dataset: Dataset) -> dict[str, Any]:
    """Name the data in a run's tags, so that runs can be searched by them."""
    return {
        "tact.dataset_id": dataset.meta.dataset_id,
        "tact.dataset_source": dataset.meta.source,
        "tact.playbook_version": dataset.meta.playbook_version,
        "tact.feature_set_version": dataset.meta.feature_set_version,
        "tact.schema_fingerprint": dataset.schema_fingerprint,
    }
