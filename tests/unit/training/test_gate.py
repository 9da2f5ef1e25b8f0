import pytest

from training.evaluation.gate import GateConfig, Reason, objections
from training.evaluation.report import BaselineReport, Report
from training.evaluation.resampling import Interval


def around(value):
    return Interval(value=value, low=value - 0.05, high=value + 0.05)


def report(auc=0.8, error=0.03, positives=200, auc_difference=0.0, loss_difference=0.0):
    difference = {"auc": around(auc_difference), "log_loss": around(loss_difference)}
    return Report(
        rows=1000,
        positives=positives,
        customers=600,
        metrics={"auc": around(auc), "calibration_error": around(error)},
        baselines={"champion": BaselineReport(metrics={}, model_minus_baseline=difference)},
    )


def reasons(measured, champion="champion", **bounds):
    return [objection.reason for objection in objections(measured, GateConfig(**bounds), champion)]


def test_a_good_version_passes():
    assert reasons(report()) == []


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (report(positives=29), Reason.TOO_FEW_POSITIVES),
        (report(auc=0.5), Reason.AUC_TOO_LOW),
        (report(error=0.11), Reason.MISCALIBRATED),
        (report(auc_difference=-0.011), Reason.AUC_BELOW_CHAMPION),
        (report(loss_difference=0.011), Reason.LOG_LOSS_ABOVE_CHAMPION),
    ],
)
def test_each_bound_has_its_reason(measured, reason):
    assert reasons(measured) == [reason]


def test_slightly_worse_than_the_champion_is_within_the_margin():
    assert reasons(report(auc_difference=-0.01, loss_difference=0.01)) == []


def test_the_first_champion_is_compared_with_nobody():
    assert reasons(report(auc_difference=-0.5), champion=None) == []


def test_all_objections_are_told_at_once():
    bad = report(auc=0.4, error=0.5, auc_difference=-0.4, loss_difference=1)
    assert len(reasons(bad)) == 4


def test_details_show_value_interval_and_bound():
    (objection,) = objections(report(auc=0.55), GateConfig(auc_min=0.6), None)
    assert objection.detail == "AUC 0.5500 [0.5000, 0.6000], must lie above 0.6"
