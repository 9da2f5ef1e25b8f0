"""A model of 200 trees, trained and promoted by the project's own jobs on the population's past."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlparse

from training.bundle.manifest import MODEL_FILE
from training.data.period import Period
from training.evaluation.gate import GateConfig
from training.jobs import dataset, promote, train
from training.model.booster import BoosterConfig

TREES = 200
LEAVES = 31
MODEL_NAME = "bench"
_PROVING_DAYS = 30


class NoModel(Exception):
    """The jobs did not bring the model that the benchmark needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A registered version that is the champion, and the text of its model."""

    version: str
    model: Path


def tracking_uri(home: Path) -> str:
    """Return the MLflow store of a home."""
    return f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"


def learn(playbook: Path, home: Path, now: datetime) -> Learned:
    """Train on what had closed 30 days ago, and promote on what came after.

    Raises:
        NoModel: the gate refused it, or it has another number of trees.
    """
    then = now - timedelta(days=_PROVING_DAYS)
    folders = {as_of: home / "datasets" / f"{as_of:%Y%m%d}" for as_of in (then, now)}
    for as_of, folder in folders.items():
        dataset.run(
            dataset.DatasetConfig(
                playbook=playbook,
                home=home,
                exposures=dataset.Exposures(event="offer_sent", action="action"),
                as_of_time=as_of,
                output=folder,
            )
        )
    trained = train.run(
        train.TrainConfig(
            dataset=folders[then],
            model_name=MODEL_NAME,
            experiment=MODEL_NAME,
            outcome="offer_taken",
            lightgbm=BoosterConfig(
                trees=TREES, early_stopping_rounds=None, num_leaves=LEAVES, min_data_in_leaf=5, lambda_l2=1.0
            ),
            tracking_uri=tracking_uri(home),
        )
    )
    if trained.trees != TREES:
        raise NoModel(f"the model has {trained.trees} trees, not {TREES}")
    promoted = promote.run(
        promote.PromoteConfig(
            dataset=folders[now],
            period=Period(from_time=then),
            model_name=MODEL_NAME,
            by="bench",
            # Quality is not what is measured here; with few customers it is poor.
            gate=GateConfig(calibration_error_max=1.0),
            resamples=100,
            tracking_uri=tracking_uri(home),
        )
    )
    if not promoted.promoted:
        raise NoModel("; ".join(map(str, promoted.objections)))
    bundle = Path(urlparse(trained.bundle_uri).path)
    return Learned(version=trained.model_version, model=bundle / MODEL_FILE)
