"""Pictures of an evaluation, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping

import lightgbm as lgb
import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import RocCurveDisplay

from training.evaluation.metrics import CALIBRATION_BINS, Labels, Vector, auc, lift

SIZE = (6.0, 4.5)
SHOWN_FEATURES = 25


def evaluation_plots(labels: Labels, scores: Vector) -> dict[str, Figure]:
    """Draw the calibration curve, the ROC curve and the lift curve, by file name."""
    return {
        "calibration.png": _calibration(labels, scores),
        "roc.png": _roc(labels, scores),
        "lift.png": _lift(labels, scores),
    }


def importance_plot(booster: lgb.Booster) -> Figure:
    """Draw the features with the largest total gain, the largest on top."""
    gains: Mapping[str, float] = dict(
        zip(booster.feature_name(), booster.feature_importance("gain").tolist(), strict=True)
    )
    shown = sorted(gains, key=lambda name: (gains[name], name))[-SHOWN_FEATURES:]
    figure = Figure(figsize=(SIZE[0] + 2, 1 + 0.25 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh(shown, [gains[name] for name in shown])
    axes.set(title="Feature importance", xlabel="total gain")
    return figure


def _calibration(labels: Labels, scores: Vector) -> Figure:
    observed, predicted = calibration_curve(labels, scores, n_bins=CALIBRATION_BINS, strategy="quantile")
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.plot(predicted, observed, marker="o")
    axes.axline((0, 0), slope=1, linestyle=":", color="grey")
    axes.set(title="Calibration", xlabel="predicted rate", ylabel="observed rate")
    return figure


def _roc(labels: Labels, scores: Vector) -> Figure:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    RocCurveDisplay.from_predictions(labels, scores, ax=axes, plot_chance_level=True)
    axes.set_title(f"ROC, AUC {auc(labels, scores):.3f}")
    return figure


def _lift(labels: Labels, scores: Vector) -> Figure:
    shares = np.linspace(0.05, 1, 20)
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.plot(shares, [lift(labels, scores, share) for share in shares], marker="o")
    axes.axhline(1, linestyle=":", color="grey")
    axes.set(title="Lift", xlabel="share of rows, best scores first", ylabel="outcomes against chance")
    return figure
