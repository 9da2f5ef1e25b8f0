import learned
import lightgbm
import numpy as np
import pytest

from training.data.dataset import ModelFeature
from training.model.fitting import FitConfig, SplitConfig, fit
from training.refusal import Refused


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return learned.dataset(tmp_path_factory.mktemp("data"))


def with_labels(tmp_path, labels):
    rows = learned.frame(len(labels)).sort_values("exposure_time", ignore_index=True)
    return learned.write(tmp_path, rows.assign(label=labels))


def test_the_same_rows_and_configuration_give_the_same_model(data):
    first, second = fit(data, learned.FAST), fit(data, learned.FAST)
    assert first.booster.model_to_string() == second.booster.model_to_string()
    assert first.calibration == second.calibration


def test_calibration_comes_from_rows_that_the_twin_did_not_see(data):
    fitted = fit(data, learned.FAST)
    split, matrix, labels = fitted.split, data.matrix(), data.labels()
    twin = lightgbm.train(
        learned.FAST.lightgbm.parameters(), lightgbm.Dataset(matrix[split.fit], labels[split.fit]), 25
    )
    margins = twin.predict(matrix[split.calibration], raw_score=True)
    calibration = fitted.calibration
    expected = 1 / (1 + np.exp(-(calibration.slope * margins + calibration.intercept)))
    np.testing.assert_allclose(fitted.holdout, expected, rtol=0, atol=1e-12)


def test_the_final_booster_learns_from_all_rows(data):
    fitted = fit(data, learned.FAST)
    everything = lightgbm.train(
        learned.FAST.lightgbm.parameters(), lightgbm.Dataset(data.matrix(), data.labels()), fitted.trees
    )
    np.testing.assert_array_equal(
        fitted.booster.predict(data.matrix(), raw_score=True),
        everything.predict(data.matrix(), raw_score=True),
    )


def test_growing_stops_where_the_newer_rows_gain_no_more(data):
    eager = learned.FAST.lightgbm.model_copy(
        update={"trees": 300, "early_stopping_rounds": 5, "learning_rate": 0.3}
    )
    fitted = fit(data, learned.FAST.model_copy(update={"lightgbm": eager}))
    assert 0 < fitted.trees < 300
    assert fitted.booster.num_trees() == fitted.trees


def test_rows_with_open_windows_are_left_out_unless_asked_for(data):
    embargoed = fit(data, learned.FAST).split
    used = fit(data, learned.FAST.model_copy(update={"split": SplitConfig(open_windows="use")})).split
    assert embargoed.embargoed == embargoed.overlapping == used.overlapping > 0
    assert used.fit.sum() == embargoed.fit.sum() + embargoed.embargoed


def test_calibration_can_begin_at_an_instant(data):
    split = SplitConfig(calibration_from="1970-05-01T00:00:00Z")
    fitted = fit(data, learned.FAST.model_copy(update={"split": split}))
    assert fitted.split.boundary_time == 120 * learned.DAY


def test_too_few_rows_are_refused(data):
    with pytest.raises(Refused, match=r"800 rows, at least 1000 are needed \(minimum_rows\)"):
        fit(data, FitConfig(minimum_rows=1000))


def test_too_few_positives_are_refused(tmp_path):
    with pytest.raises(Refused, match=r"5 positives, at least 20 are needed \(minimum_positives\)"):
        fit(with_labels(tmp_path, [1] * 5 + [0] * 195), learned.FAST)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_refused(tmp_path, label):
    with pytest.raises(Refused, match="a model needs both classes"):
        fit(with_labels(tmp_path, [label] * 200), learned.FAST)


def test_older_rows_of_one_class_are_refused(tmp_path):
    with pytest.raises(Refused, match="before the calibration boundary are all of one class"):
        fit(with_labels(tmp_path, [0] * 150 + [1, 0] * 25), learned.FAST)


def test_a_signal_that_turns_around_is_refused(tmp_path):
    rows = learned.frame(800, signal=3).sort_values("exposure_time", ignore_index=True)
    rows.loc[600:, "label"] = 1 - rows.loc[600:, "label"]
    with pytest.raises(Refused, match="calibration slope is -"):
        fit(learned.write(tmp_path, rows), learned.FAST)


@pytest.mark.parametrize("name", ["visits 28d", 'visits"28d', "visits,28d"])
def test_names_that_lightgbm_changes_are_refused(tmp_path, name):
    features = (ModelFeature(name=name, definition_hash="a1", candidate=False), *learned.FEATURES[1:])
    rows = learned.frame(200).rename(columns={learned.NAMES[0]: name})
    with pytest.raises(Refused, match="LightGBM"):
        fit(learned.write(tmp_path, rows, features), learned.FAST)
