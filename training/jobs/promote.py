"""The promote job: a version passes the gate and goes live, or it does not and the reasons are told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from training.bundle.reader import Bundle, BundleBroken
from training.configuration import Configuration
from training.data.dataset import Dataset, read_dataset
from training.data.period import Period
from training.evaluation.gate import GateConfig, Objection, Reason, objections
from training.evaluation.report import Baseline, Report, compare
from training.evaluation.scoring import bundle_scores, seen_rows
from training.jobs.tracking import tracking
from training.jobs.versions import CHAMPION, aliased_version, fetch_bundle, find_version
from training.refusal import Refused

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


class PromoteConfig(Configuration):
    """Which version to promote, and on which rows it must prove itself."""

    dataset: Path
    period: Period = Period()
    model_name: str = "tact-retail"
    version: int | None = None
    """A version, or else the newest."""
    by: str = Field(min_length=1)
    """Who promotes; kept with the version."""
    gate: GateConfig = GateConfig()
    seen_rows: Literal["refuse", "allow"] = "refuse"
    """Whether rows may prove a version that were not exposed after those it learned from."""
    incomparable_champion: Literal["refuse", "replace"] = "refuse"
    """What becomes of a champion that is broken, or whose features the dataset does not hold."""
    resamples: int = Field(default=1000, ge=100)
    seed: int = 7
    tracking_uri: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteResult:
    """What came of it.

    ``promoted`` tells whether the version is the champion now, ``changed`` whether this call
    made it so. ``report`` is None where nothing was measured.
    """

    promoted: bool
    changed: bool
    model_name: str
    version: str
    champion_before: str | None
    objections: tuple[Objection, ...] = ()
    report: Report | None = None


def run(config: PromoteConfig, *, now: datetime | None = None) -> PromoteResult:
    """Check a version's bundle, hold it against the champion, and give it the alias ``champion``.

    Promoting the champion again changes nothing. A version that is not promoted leaves the alias
    where it is; all its objections are told at once. There is no way around the gate.

    Raises:
        Refused: there is no such version, or the rows cannot be used.
    """
    dataset = config.period.of(read_dataset(config.dataset))
    with tracking(config.tracking_uri) as client:
        version = find_version(client, config.model_name, config.version)
        champion = aliased_version(client, config.model_name, CHAMPION)
        if champion is not None and str(champion.version) == str(version.version):
            return _result(version, champion, promoted=True)
        found, report = _examine(client, config, dataset, version, champion)
        _keep(client, version, found, report)
        if found:
            return _result(version, champion, objections=found, report=report)
        _promote(client, config, version, champion, now or datetime.now(UTC))
        return _result(version, champion, promoted=True, changed=True, report=report)


def _examine(
    client: MlflowClient,
    config: PromoteConfig,
    dataset: Dataset,
    version: ModelVersion,
    champion: ModelVersion | None,
) -> tuple[tuple[Objection, ...], Report | None]:
    try:
        bundle = fetch_bundle(client, version)
    except BundleBroken as error:
        return (Objection(reason=Reason.BUNDLE_BROKEN, detail=str(error)),), None
    found: list[Objection] = []
    if (seen := seen_rows(bundle, dataset)) and config.seen_rows == "refuse":
        detail = f"{seen} of {len(dataset.frame)} rows are not exposed after those it learned from"
        found.append(Objection(reason=Reason.ROWS_SEEN, detail=detail))
    baselines: dict[str, Baseline] = {}
    if champion is not None:
        rival = _rival(client, champion, dataset, bundle)
        if isinstance(rival, Baseline):
            baselines[CHAMPION] = rival
        elif rival.reason is not Reason.CHAMPION_NOT_COMPARABLE or config.incomparable_champion == "refuse":
            found.append(rival)
    report = compare(
        dataset.labels(),
        dataset.frame["customer_id"],
        bundle_scores(bundle, dataset),
        baselines,
        resamples=config.resamples,
        seed=config.seed,
    )
    found += objections(report, config.gate, CHAMPION if baselines else None)
    return tuple(found), report


def _rival(
    client: MlflowClient, champion: ModelVersion, dataset: Dataset, bundle: Bundle
) -> Baseline | Objection:
    try:
        rival = fetch_bundle(client, champion)
        scores = bundle_scores(rival, dataset)
    except (BundleBroken, Refused) as error:
        detail = f"version {champion.version}: {error}"
        return Objection(reason=Reason.CHAMPION_NOT_COMPARABLE, detail=detail)
    ours, theirs = bundle.manifest.outcome, rival.manifest.outcome
    if ours != theirs:
        return Objection(reason=Reason.OUTCOME_DIFFERS, detail=f"predicts {ours}, the champion {theirs}")
    return Baseline(scores=scores, is_probability=True)


def _keep(
    client: MlflowClient, version: ModelVersion, found: tuple[Objection, ...], report: Report | None
) -> None:
    content = {
        "objections": [asdict(objection) for objection in found],
        "report": report.as_json() if report else None,
    }
    client.log_dict(str(version.run_id), content, "promotion/gate.json")


def _promote(
    client: MlflowClient,
    config: PromoteConfig,
    version: ModelVersion,
    champion: ModelVersion | None,
    now: datetime,
) -> None:
    tags = {
        "tact.promoted_time": now.isoformat(),
        "tact.promoted_by": config.by,
        "tact.promoted_after": str(champion.version) if champion else "none",
    }
    for key, value in tags.items():
        client.set_model_version_tag(config.model_name, str(version.version), key, value)
    # The alias comes last: it is what services follow.
    client.set_registered_model_alias(config.model_name, CHAMPION, str(version.version))


def _result(
    version: ModelVersion,
    champion: ModelVersion | None,
    *,
    promoted: bool = False,
    changed: bool = False,
    objections: tuple[Objection, ...] = (),
    report: Report | None = None,
) -> PromoteResult:
    return PromoteResult(
        promoted=promoted,
        changed=changed,
        model_name=str(version.name),
        version=str(version.version),
        champion_before=str(champion.version) if champion else None,
        objections=objections,
        report=report,
    )
