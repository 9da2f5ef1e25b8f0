"""Builds the dataset, trains, and promotes: the same jobs that a data scientist runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rich.console import Console

from services.cli.customer_stores import databases
from services.cli.demo.progress import Steps, bar
from services.cli.failure import Failure
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.loader import load
from training.data.completejourney import CompleteJourney
from training.jobs import dataset, promote, train
from training.jobs.config import load_config

CONFIGS = Path(train.__file__).parents[1] / "configs" / "retail"


def run(playbook: Path, home: Path, data: CompleteJourney, steps: Steps, console: Console) -> str | None:
    """Return the version that was promoted; None where an earlier run did, whoever is champion now.

    Raises:
        Failure: the gate refused the model.
    """
    key = _key(playbook, data)
    known = steps.result("learn", key)
    if known is not None and (home / "mlflow" / "mlflow.db").exists():
        console.print(f"model version {known} is trained and promoted already")
        return None
    stores: dict[str, Any] = {"home": home.absolute(), "playbook": playbook.absolute(), **databases()}
    training, proving = home / "datasets" / "training", home / "datasets" / "proving"
    with bar(console) as progress:
        task = progress.add_task("Dataset", total=2)
        for name, output in (("dataset.yaml", training), ("proving.yaml", proving)):
            overrides = {**stores, "output": output.absolute()}
            dataset.run(load_config(CONFIGS / name, dataset.DatasetConfig, overrides))
            progress.advance(task)
        task = progress.add_task("Train, calibrate, log to MLflow", total=1)
        uri = f"sqlite:///{home.absolute() / 'mlflow' / 'mlflow.db'}"
        overrides = {"dataset": training.absolute(), "tracking_uri": uri}
        trained = train.run(load_config(CONFIGS / "train.yaml", train.TrainConfig, overrides))
        progress.advance(task)
        task = progress.add_task("Gate and promote", total=1)
        version = int(trained.model_version)
        overrides = {"dataset": proving.absolute(), "tracking_uri": uri, "version": version}
        promoted = promote.run(load_config(CONFIGS / "promote.yaml", promote.PromoteConfig, overrides))
        progress.advance(task)
    if not promoted.promoted:
        raise Failure("the gate refused the model: " + "; ".join(map(str, promoted.objections)))
    steps.finish("learn", key, trained.model_version)
    return trained.model_version


def _key(playbook: Path, data: CompleteJourney) -> str:
    loaded = load(playbook)
    digest = hashlib.sha256(f"{data.identity} {loaded.version} {FeatureSet(loaded).version}".encode())
    for path in sorted(CONFIGS.glob("*.yaml")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
