"""What a model must show before it may be served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from training.configuration import Configuration
from training.evaluation.report import Report
from training.evaluation.resampling import Interval


class Reason(StrEnum):
    """Why a version is not promoted."""

    BUNDLE_BROKEN = "bundle_broken"
    ROWS_SEEN = "rows_seen"
    TOO_FEW_POSITIVES = "too_few_positives"
    AUC_TOO_LOW = "auc_too_low"
    MISCALIBRATED = "miscalibrated"
    AUC_BELOW_CHAMPION = "auc_below_champion"
    LOG_LOSS_ABOVE_CHAMPION = "log_loss_above_champion"
    OUTCOME_DIFFERS = "outcome_differs"
    CHAMPION_NOT_COMPARABLE = "champion_not_comparable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """One reason, with the figures behind it."""

    reason: Reason
    detail: str


class GateConfig(Configuration):
    """The bounds of the gate."""

    minimum_positives: int = Field(default=30, ge=1)
    auc_min: float = Field(default=0.5, ge=0.5, lt=1)
    """The AUC must lie above it."""
    calibration_error_max: float = Field(default=0.1, gt=0)
    auc_margin: float = Field(default=0.01, ge=0)
    """How far the AUC may lie below the champion's."""
    log_loss_margin: float = Field(default=0.01, ge=0)
    """How far the log loss may lie above the champion's, in nats."""


def objections(report: Report, config: GateConfig, champion: str | None) -> list[Objection]:
    """List every bound that a report breaks, none for a version that may pass.

    Point estimates are judged: with a few hundred positives a paired interval is wider than any
    useful margin, so the intervals are for people to read in the report. ``champion`` names the
    baseline that is the champion.
    """
    found = list(_alone(report, config))
    if champion is not None:
        found += _against(report.baselines[champion].model_minus_baseline, config)
    return found


def _alone(report: Report, config: GateConfig) -> Iterator[Objection]:
    auc, error = report.metrics["auc"], report.metrics["calibration_error"]
    if report.positives < config.minimum_positives:
        detail = f"{report.positives} positives, at least {config.minimum_positives} are needed"
        yield Objection(reason=Reason.TOO_FEW_POSITIVES, detail=detail)
    if auc.value <= config.auc_min:
        detail = f"AUC {_show(auc)}, must lie above {config.auc_min:g}"
        yield Objection(reason=Reason.AUC_TOO_LOW, detail=detail)
    if error.value > config.calibration_error_max:
        detail = f"calibration error {_show(error)}, at most {config.calibration_error_max:g}"
        yield Objection(reason=Reason.MISCALIBRATED, detail=detail)


def _against(difference: Mapping[str, Interval], config: GateConfig) -> Iterator[Objection]:
    auc, loss = difference["auc"], difference["log_loss"]
    if auc.value < -config.auc_margin:
        detail = f"AUC minus champion's {_show(auc)}, at least {-config.auc_margin:g}"
        yield Objection(reason=Reason.AUC_BELOW_CHAMPION, detail=detail)
    if loss.value > config.log_loss_margin:
        detail = f"log loss minus champion's {_show(loss)}, at most {config.log_loss_margin:g}"
        yield Objection(reason=Reason.LOG_LOSS_ABOVE_CHAMPION, detail=detail)


def _show(interval: Interval) -> str:
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
