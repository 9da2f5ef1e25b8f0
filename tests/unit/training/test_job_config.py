from pathlib import Path

import pytest

from training.jobs.config import load_config
from training.jobs.evaluate import EvaluateConfig
from training.jobs.promote import PromoteConfig
from training.jobs.train import TrainConfig
from training.refusal import Refused

RETAIL = Path(__file__).parents[3] / "training" / "configs" / "retail"


def load(tmp_path, text, overrides=None):
    path = tmp_path / "train.yaml"
    path.write_text(text)
    return load_config(path, TrainConfig, overrides or {})


def refusal(tmp_path, text, overrides=None):
    with pytest.raises(Refused) as caught:
        load(tmp_path, text, overrides)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_values_and_defaults(tmp_path):
    config = load(tmp_path, "dataset: rows\noutcome: bought\nlightgbm:\n  num_leaves: 15\n")
    assert config.dataset == Path("rows")
    assert config.lightgbm.num_leaves == 15
    assert config.split.open_windows == "embargo"


def test_overrides_replace_nested_values(tmp_path):
    overrides = {"lightgbm.seed": 3, "dataset": "elsewhere", "split.calibration_fraction": 0.5}
    config = load(tmp_path, "dataset: rows\noutcome: bought\nlightgbm:\n  seed: 1\n  trees: 9\n", overrides)
    assert (config.lightgbm.seed, config.lightgbm.trees) == (3, 9)
    assert (config.dataset, config.split.calibration_fraction) == (Path("elsewhere"), 0.5)


def test_a_configuration_is_frozen(tmp_path):
    config = load(tmp_path, "dataset: rows\noutcome: bought\n")
    with pytest.raises(ValueError, match="frozen"):
        config.outcome = "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dataset: rows\noutcome: b\nlightgbm:\n  num_leafs: 3\n",
            "train.yaml:4: unknown key lightgbm.num_leafs; did you mean num_leaves?",
        ),
        ("dataset: rows\noutcome: b\nzzz: 1\n", "train.yaml:3: unknown key zzz"),
        ("dataset: rows\n", "train.yaml: outcome: Field required"),
        (
            "dataset: rows\noutcome: b\nsplit:\n  calibration_fraction: 1.5\n",
            "train.yaml:4: split.calibration_fraction: Input should be less than 1",
        ),
        (
            "dataset: rows\noutcome: b\nsplit:\n  calibration_from: 2017-08-08\n",
            "train.yaml:4: split.calibration_from: Input should have timezone info",
        ),
        ("dataset: rows\noutcome: b\noutcome: c\n", "train.yaml:3: outcome is given twice"),
        ("- dataset\n", "train.yaml: must hold keys and values"),
        ("dataset: rows\noutcome: b\nmodel_name: a/b\n", "train.yaml:3: model_name: String should match"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path, text, message):
    assert refusal(tmp_path, text).startswith(message)


def test_every_mistake_is_told_at_once(tmp_path):
    assert len(refusal(tmp_path, "dataset: rows\nzzz: 1\nyyy: 2\n").splitlines()) == 3


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    assert "train.yaml" in refusal(tmp_path, "dataset: [\n")


def test_a_file_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"absent\.yaml"):
        load_config(tmp_path / "absent.yaml", TrainConfig)


@pytest.mark.parametrize(
    ("name", "cls"), [("train", TrainConfig), ("evaluate", EvaluateConfig), ("promote", PromoteConfig)]
)
def test_shipped_configurations_load(name, cls):
    assert load_config(RETAIL / f"{name}.yaml", cls).model_name == "tact-retail"
