"""The train job: a dataset becomes a registered model version that nobody serves yet."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from services.engine.instants import instant
from training.bundle.writer import write_bundle
from training.data.dataset import Dataset, read_dataset
from training.evaluation.plots import evaluation_plots, importance_plot
from training.evaluation.report import Baseline, compare
from training.jobs.tracking import (
    as_mlflow_dataset,
    dataset_tags,
    ensure_registered_model,
    experiment_id,
    tracking,
)
from training.model.booster import raw_margins
from training.model.fitting import FitConfig, Fitted, fit

if TYPE_CHECKING:
    from mlflow import MlflowClient

BUNDLE_FOLDER = "bundle"
FLAVOUR_NAME = "model"
HOLDOUT_RESAMPLES = 200
EXAMPLE_ROWS = 3


class TrainConfig(FitConfig):
    """What to learn from, how, and under which name to register the result."""

    dataset: Path
    model_name: str = Field(default="tact-retail", pattern=r"^[A-Za-z0-9._-]+$")
    experiment: str = "tact-retail"
    outcome: str
    """What a positive label means, such as ``coupon_redeemed``."""
    tracking_uri: str | None = None
    """An MLflow store; where unset, SQLite under ``TACT_HOME``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What was learned, and where it lies."""

    run_id: str
    model_name: str
    model_version: str
    bundle_uri: str
    dataset_id: str
    schema_fingerprint: str
    trees: int
    calibration_from_time: datetime
    fit_rows: int
    calibration_rows: int
    overlapping_rows: int
    embargoed_rows: int
    metrics: Mapping[str, float]


def run(config: TrainConfig, *, now: datetime | None = None) -> TrainResult:
    """Train, log a run to MLflow and register its bundle as a version without an alias.

    The same dataset and configuration give the same model text. ``holdout_`` metrics are those
    of the hold-out twin on the newer slice; growing stopped and calibration was fitted there,
    so its log loss, Brier and calibration error flatter. ``now`` is written to the manifest.

    Raises:
        Refused: the dataset is not fit to learn from; nothing was logged.
    """
    dataset = read_dataset(config.dataset)
    fitted = fit(dataset, config)
    with tracking(config.tracking_uri) as client, tempfile.TemporaryDirectory() as scratch:
        return _log(client, config, dataset, fitted, Path(scratch), now or datetime.now(UTC))


def _log(
    client: MlflowClient, config: TrainConfig, dataset: Dataset, fitted: Fitted, scratch: Path, now: datetime
) -> TrainResult:
    import mlflow

    manifest = write_bundle(
        scratch, fitted, dataset, outcome=config.outcome, created_time=now, seed=config.lightgbm.seed
    )
    metrics = _metrics(dataset, fitted)
    with mlflow.start_run(experiment_id=experiment_id(client, config.experiment)) as active:
        run_id = str(active.info.run_id)
        mlflow.log_input(as_mlflow_dataset(dataset), context="training")
        mlflow.set_tags(dataset_tags(dataset))
        mlflow.log_params(_parameters(config, fitted))
        mlflow.log_metrics(dict(metrics))
        holdout_labels = dataset.labels()[fitted.split.calibration]
        plots = evaluation_plots(holdout_labels, fitted.holdout)
        for name, figure in {**plots, "feature_importance.png": importance_plot(fitted.booster)}.items():
            mlflow.log_figure(figure, f"plots/{name}")
        mlflow.log_artifacts(str(scratch), BUNDLE_FOLDER)
        _log_flavour(dataset, fitted)
        bundle_uri = f"{active.info.artifact_uri}/{BUNDLE_FOLDER}"
    ensure_registered_model(client, config.model_name)
    registered = client.create_model_version(
        config.model_name,
        source=bundle_uri,
        run_id=run_id,
        tags={"tact.schema_fingerprint": manifest.schema_fingerprint, "tact.dataset_id": manifest.dataset_id},
    )
    split = fitted.split
    return TrainResult(
        run_id=run_id,
        model_name=config.model_name,
        model_version=str(registered.version),
        bundle_uri=bundle_uri,
        dataset_id=manifest.dataset_id,
        schema_fingerprint=manifest.schema_fingerprint,
        trees=fitted.trees,
        calibration_from_time=instant(split.boundary_time),
        fit_rows=int(split.fit.sum()),
        calibration_rows=int(split.calibration.sum()),
        overlapping_rows=split.overlapping,
        embargoed_rows=split.embargoed,
        metrics=metrics,
    )


def _metrics(dataset: Dataset, fitted: Fitted) -> dict[str, float]:
    newer = dataset.select(fitted.split.calibration)
    prior = Baseline(scores=fitted.priors.of(newer.frame["group"]), is_probability=True)
    report = compare(
        newer.labels(),
        newer.frame["customer_id"],
        fitted.holdout,
        {"prior": prior},
        resamples=HOLDOUT_RESAMPLES,
        seed=0,
    )
    metrics = {f"holdout_{name}": interval.value for name, interval in report.metrics.items()}
    metrics |= {
        f"holdout_{name}_{end}": value
        for name, interval in report.metrics.items()
        for end, value in (("low", interval.low), ("high", interval.high))
    }
    split = fitted.split
    return metrics | {
        "holdout_prior_auc": report.baselines["prior"].metrics["auc"].value,
        "rows": len(dataset.frame),
        "positives": int(dataset.labels().sum()),
        "fit_rows": int(split.fit.sum()),
        "calibration_rows": int(split.calibration.sum()),
        "overlapping_rows": split.overlapping,
        "embargoed_rows": split.embargoed,
        "trees": fitted.trees,
        "calibration_slope": fitted.calibration.slope,
        "calibration_intercept": fitted.calibration.intercept,
    }


def _parameters(config: TrainConfig, fitted: Fitted) -> dict[str, Any]:
    content = config.model_dump(mode="json")
    nested = {"lightgbm": content.pop("lightgbm"), "split": content.pop("split")}
    flat = {f"{part}.{name}": value for part, values in nested.items() for name, value in values.items()}
    return content | flat | {"calibration_from_time": instant(fitted.split.boundary_time).isoformat()}


def _log_flavour(dataset: Dataset, fitted: Fitted) -> None:
    import mlflow.lightgbm
    from mlflow.models import infer_signature

    example = dataset.frame[dataset.feature_names].median().to_frame().T
    example = example.reindex(np.zeros(EXAMPLE_ROWS, dtype=int)).reset_index(drop=True)
    mlflow.lightgbm.log_model(
        fitted.booster,
        name=FLAVOUR_NAME,
        signature=infer_signature(example, raw_margins(fitted.booster, example.to_numpy())),
        input_example=example,
        pip_requirements=[
            f"{package}=={installed_version(package)}" for package in ("lightgbm", "numpy", "pandas")
        ],
        metadata={"calibrated": False, "calibration": fitted.calibration.model_dump()},
    )
