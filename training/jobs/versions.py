"""Registered versions of a model, and their bundles."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from training.bundle.reader import Bundle, BundleBroken, read_bundle
from training.refusal import Refused

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"


def find_version(client: MlflowClient, name: str, version: int | None) -> ModelVersion:
    """Return a version of a model, the newest where none is named.

    Raises:
        Refused: there is no such version.
    """
    found = client.search_model_versions(f"name = '{name}'")
    chosen = [entry for entry in found if version is None or int(entry.version) == version]
    if not chosen:
        raise Refused(f"{name} has no version {'at all' if version is None else version}")
    return max(chosen, key=lambda entry: int(entry.version))


def aliased_version(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """Return the version behind an alias, or None where the alias is not set."""
    found = client.search_registered_models(filter_string=f"name = '{name}'")
    version = found[0].aliases.get(alias) if found else None
    return None if version is None else client.get_model_version(name, version)


def fetch_bundle(client: MlflowClient, version: ModelVersion) -> Bundle:
    """Read a version's bundle from its artifacts and check it.

    Raises:
        BundleBroken: it cannot be fetched, or it fails its checks.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = download_artifacts(
                artifact_uri=version.source, dst_path=scratch, tracking_uri=client.tracking_uri
            )
        except (MlflowException, OSError) as error:
            raise BundleBroken(f"{version.source} cannot be fetched: {error}") from None
        return read_bundle(Path(folder))
