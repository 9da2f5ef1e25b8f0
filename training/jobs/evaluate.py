"""The evaluate job: how good is a registered version on rows that it never saw?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from training.bundle.reader import Bundle, BundleBroken
from training.configuration import Configuration
from training.data.dataset import Dataset, read_dataset
from training.data.period import Period
from training.evaluation.metrics import Vector
from training.evaluation.plots import evaluation_plots
from training.evaluation.report import Baseline, Report, compare
from training.evaluation.scoring import bundle_scores, seen_rows
from training.jobs.tracking import as_mlflow_dataset, tracking
from training.jobs.versions import aliased_version, fetch_bundle, find_version
from training.model.priors import Priors
from training.refusal import Refused

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


class EvaluateConfig(Configuration):
    """Which version to evaluate, on which rows, beside which baselines."""

    dataset: Path
    period: Period = Period()
    model_name: str = "tact-retail"
    version: int | None = None
    """A version; or else the one behind ``alias``, or else the newest."""
    alias: str | None = None
    baselines: tuple[str, ...] = ()
    """Features of the dataset whose values serve as scores."""
    seen_rows: Literal["refuse", "allow"] = "refuse"
    """What becomes of rows not exposed after the last one that the model learned from."""
    resamples: int = Field(default=1000, ge=100)
    seed: int = 7
    tracking_uri: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateResult:
    """A report, and the version and rows that it is about."""

    run_id: str
    model_name: str
    model_version: str
    dataset_id: str
    seen_rows: int
    report: Report


def run(config: EvaluateConfig) -> EvaluateResult:
    """Evaluate a version and add the report to its training run.

    The report compares with ``constant`` (the training rows' rate), ``prior`` (the rate of each
    group) and every baseline asked for. In MLflow its metrics are named after the dataset's folder.

    Raises:
        Refused: the version, its bundle, the rows or a baseline cannot be used.
    """
    dataset = config.period.of(read_dataset(config.dataset))
    if unknown := set(config.baselines) - set(dataset.feature_names):
        raise Refused(f"{config.dataset}: no such feature to serve as baseline: {', '.join(sorted(unknown))}")
    with tracking(config.tracking_uri) as client:
        version = _version(client, config)
        try:
            bundle = fetch_bundle(client, version)
        except BundleBroken as error:
            raise Refused(f"{config.model_name} version {version.version}: {error}") from None
        seen = seen_rows(bundle, dataset)
        if seen and config.seen_rows == "refuse":
            raise Refused(
                f"{config.dataset}: {seen} of {len(dataset.frame)} rows are not exposed after the last one "
                f"that the model learned from, {bundle.manifest.trained_until_time.isoformat()}"
            )
        scores = bundle_scores(bundle, dataset)
        report = compare(
            dataset.labels(),
            dataset.frame["customer_id"],
            scores,
            _baselines(config, bundle, dataset),
            resamples=config.resamples,
            seed=config.seed,
        )
        result = EvaluateResult(
            run_id=str(version.run_id),
            model_name=config.model_name,
            model_version=str(version.version),
            dataset_id=dataset.meta.dataset_id,
            seen_rows=seen,
            report=report,
        )
        _log(dataset, scores, result)
    return result


def _version(client: MlflowClient, config: EvaluateConfig) -> ModelVersion:
    if config.version is not None or config.alias is None:
        return find_version(client, config.model_name, config.version)
    version = aliased_version(client, config.model_name, config.alias)
    if version is None:
        raise Refused(f"{config.model_name} has no version behind the alias {config.alias}")
    return version


def _baselines(config: EvaluateConfig, bundle: Bundle, dataset: Dataset) -> dict[str, Baseline]:
    manifest = bundle.manifest
    groups = dataset.frame["group"]
    constant = Priors(by_group={}, overall=manifest.overall_prior)
    prior = Priors(by_group=manifest.priors, overall=manifest.overall_prior)
    return {
        "constant": Baseline(scores=constant.of(groups), is_probability=True),
        "prior": Baseline(scores=prior.of(groups), is_probability=True),
        **{name: Baseline(scores=dataset.matrix([name])[:, 0]) for name in config.baselines},
    }


def _log(dataset: Dataset, scores: Vector, result: EvaluateResult) -> None:
    import mlflow

    name, report = dataset.name, result.report
    metrics = {
        f"{name}/{metric}{end}": value
        for metric, interval in report.metrics.items()
        for end, value in (("", interval.value), ("_low", interval.low), ("_high", interval.high))
    }
    metrics |= {
        f"{name}/{metric}_minus_{baseline}": interval.value
        for baseline, beside in report.baselines.items()
        for metric, interval in beside.model_minus_baseline.items()
    }
    with mlflow.start_run(run_id=result.run_id):
        mlflow.log_input(as_mlflow_dataset(dataset), context="evaluation")
        mlflow.log_metrics(metrics)
        content = {"dataset_id": result.dataset_id, **report.as_json()}
        mlflow.log_dict(content, f"evaluation/{name}/report.json")
        for file, figure in evaluation_plots(dataset.labels(), scores).items():
            mlflow.log_figure(figure, f"evaluation/{name}/{file}")
