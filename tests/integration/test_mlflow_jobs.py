"""Train, evaluate and promote against a real MLflow on SQLite."""

import json
import shutil
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import learned
import lightgbm
import numpy as np
import pytest

from training.data.dataset import ModelFeature
from training.evaluation.gate import GateConfig, Reason
from training.jobs import evaluate, promote, train
from training.jobs.evaluate import EvaluateConfig
from training.jobs.promote import PromoteConfig
from training.jobs.tracking import tracking
from training.jobs.train import TrainConfig
from training.refusal import Refused


class World:
    """Datasets, and one MLflow store with a space in its path."""

    def __init__(self, folder):
        self.folder = folder
        self.uri = f"sqlite:///{folder / 'a home' / 'mlflow.db'}"
        learned.dataset(folder / "train", 800)
        learned.dataset(folder / "later", 600, seed=5, first_day=220, days=60)

    def train(self, model_name, dataset="train", **options):
        config = TrainConfig(
            dataset=self.folder / dataset,
            model_name=model_name,
            outcome="coupon_redeemed",
            tracking_uri=self.uri,
            **{**dict(learned.FAST), **options},
        )
        return train.run(config, now=learned.NOW)

    def evaluate(self, model_name, dataset="later", **options):
        return evaluate.run(
            EvaluateConfig(
                dataset=self.folder / dataset,
                model_name=model_name,
                tracking_uri=self.uri,
                resamples=100,
                **options,
            )
        )

    def promote(self, model_name, dataset="later", **options):
        config = PromoteConfig(
            dataset=self.folder / dataset,
            model_name=model_name,
            by="tests",
            tracking_uri=self.uri,
            resamples=100,
            **options,
        )
        return promote.run(config, now=learned.NOW)

    def champion(self, model_name):
        with tracking(self.uri) as client:
            version = client.get_registered_model(model_name).aliases.get("champion")
        return None if version is None else str(version)


def path_of(uri):
    return Path(url2pathname(urlparse(uri).path))


def reasons(result):
    return [objection.reason for objection in result.objections]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def trained(world):
    return world.train("trained")


def test_a_run_holds_all_that_explains_the_model(world, trained):
    data = learned.read(world.folder / "train")
    with tracking(world.uri) as client:
        run = client.get_run(trained.run_id)
        artifacts = {
            file.path
            for folder in ("bundle", "plots")
            for file in client.list_artifacts(run.info.run_id, folder)
        }
    assert run.info.status == "FINISHED"
    assert run.data.tags["tact.dataset_id"] == data.meta.dataset_id == trained.dataset_id
    assert run.data.tags["tact.playbook_version"] == "playbook-1"
    assert run.data.tags["tact.schema_fingerprint"] == data.schema_fingerprint
    assert run.data.params["lightgbm.learning_rate"] == "0.1"
    assert run.data.params["split.open_windows"] == "embargo"
    assert run.data.metrics == pytest.approx(dict(trained.metrics))
    assert run.data.metrics["holdout_auc"] > 0.7
    (logged,) = run.inputs.dataset_inputs
    assert logged.dataset.name == "train"
    assert logged.dataset.digest == data.meta.dataset_id[:36]
    assert {tag.value for tag in logged.tags} == {"training"}
    assert artifacts == {
        *(f"bundle/{name}" for name in ("manifest.json", "model.txt", "golden.npz", "warmup.npz")),
        *(f"plots/{name}.png" for name in ("calibration", "roc", "lift", "feature_importance")),
    }


def test_artifacts_lie_beside_the_database(world, trained):
    assert (world.folder / "a home" / "artifacts") in path_of(trained.bundle_uri).parents


def test_a_trained_version_is_registered_and_served_by_nobody(world, trained):
    with tracking(world.uri) as client:
        version = client.get_model_version("trained", trained.model_version)
    assert version.run_id == trained.run_id
    assert version.source == trained.bundle_uri
    assert version.aliases == []
    assert world.champion("trained") is None


def test_plain_mlflow_loads_the_standard_flavour(world, trained):
    import mlflow.lightgbm

    data = learned.read(world.folder / "train")
    text = (path_of(trained.bundle_uri) / "model.txt").read_text()
    with tracking(world.uri):
        model = mlflow.lightgbm.load_model(f"runs:/{trained.run_id}/model")
        info = mlflow.models.get_model_info(f"runs:/{trained.run_id}/model")
    expected = lightgbm.Booster(model_str=text).predict(data.matrix(), raw_score=True)
    np.testing.assert_array_equal(model.predict(data.matrix(), raw_score=True), expected)
    assert [column.name for column in info.signature.inputs.inputs] == learned.NAMES


def test_the_same_data_and_configuration_give_the_same_model(world, trained):
    again = world.train("trained")
    first, second = path_of(trained.bundle_uri), path_of(again.bundle_uri)
    assert (first / "model.txt").read_bytes() == (second / "model.txt").read_bytes()
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (first, second)]
    assert manifests[0]["calibration"] == manifests[1]["calibration"]
    assert int(again.model_version) == int(trained.model_version) + 1


def test_a_refused_dataset_leaves_no_run(world):
    with pytest.raises(Refused, match="minimum_rows"):
        world.train("refused", minimum_rows=5000)
    with tracking(world.uri) as client:
        assert not client.search_registered_models(filter_string="name = 'refused'")


def test_an_evaluation_compares_and_is_added_to_the_run(world, trained):
    result = world.evaluate("trained", version=int(trained.model_version), baselines=["customer.visits_28d"])
    report = result.report
    assert (result.run_id, result.seen_rows, report.rows) == (trained.run_id, 0, 600)
    assert set(report.baselines) == {"constant", "prior", "customer.visits_28d"}
    assert report.baselines["constant"].metrics["auc"].value == 0.5
    assert report.metrics["auc"].value > report.baselines["customer.visits_28d"].metrics["auc"].value > 0.5
    with tracking(world.uri) as client:
        run = client.get_run(trained.run_id)
        logged = {tag.value for entry in run.inputs.dataset_inputs for tag in entry.tags}
        files = {file.path for file in client.list_artifacts(trained.run_id, "evaluation/later")}
    assert run.data.metrics["later/auc"] == report.metrics["auc"].value
    difference = report.baselines["prior"].model_minus_baseline["auc"].value
    assert run.data.metrics["later/auc_minus_prior"] == difference
    assert logged == {"training", "evaluation"}
    assert run.info.status == "FINISHED"
    assert "evaluation/later/report.json" in files


def test_rows_that_the_model_learned_from_are_refused_unless_allowed(world, trained):
    with pytest.raises(Refused, match="800 of 800 rows are not exposed after"):
        world.evaluate("trained", dataset="train")
    assert world.evaluate("trained", dataset="train", seen_rows="allow").seen_rows == 800


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 99}, "trained has no version 99"),
        ({"alias": "champion"}, "no version behind the alias champion"),
        ({"model_name": "nobody"}, "nobody has no version at all"),
        ({"baselines": ["customer.height"]}, "no such feature to serve as baseline: customer.height"),
        ({"dataset": "absent"}, "holds no dataset"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(world, trained, options, message):
    with pytest.raises(Refused, match=message):
        world.evaluate(**{"model_name": "trained", **options})


def test_features_defined_otherwise_are_refused(world, trained):
    features = (
        ModelFeature(name=learned.NAMES[0], definition_hash="new", candidate=False),
        *learned.FEATURES[1:],
    )
    learned.write(world.folder / "redefined", learned.frame(100, first_day=220), features)
    with pytest.raises(Refused, match=r"defined otherwise than in the model: customer\.visits_28d"):
        world.evaluate("trained", dataset="redefined")


def test_a_dataset_with_more_features_in_another_order_can_be_evaluated(world, trained):
    more = (
        ModelFeature(name="customer.new", definition_hash="n", candidate=False),
        *learned.FEATURES[2::-1],
        *learned.FEATURES[3:],
    )
    rows = learned.read(world.folder / "later").frame.assign(**{"customer.new": 1.0})
    learned.write(world.folder / "more", rows, more)
    first, second = world.evaluate("trained"), world.evaluate("trained", dataset="more")
    assert first.report.metrics == second.report.metrics


def test_promoting_sets_the_alias_and_says_who_did_it(world):
    version = world.train("promoted").model_version
    result = world.promote("promoted")
    assert (result.promoted, result.changed, result.champion_before) == (True, True, None)
    assert world.champion("promoted") == version
    with tracking(world.uri) as client:
        tags = client.get_model_version("promoted", version).tags
    assert tags["tact.promoted_by"] == "tests"
    assert tags["tact.promoted_time"] == learned.NOW.isoformat()
    assert tags["tact.promoted_after"] == "none"


def test_promoting_again_changes_nothing(world):
    world.train("again")
    world.promote("again")
    result = world.promote("again")
    assert (result.promoted, result.changed, result.champion_before) == (True, False, "1")


def test_an_equal_version_may_take_over(world):
    world.train("equal")
    world.promote("equal")
    world.train("equal")
    result = world.promote("equal")
    assert (result.promoted, result.version, result.champion_before) == (True, "2", "1")
    assert result.report.baselines["champion"].model_minus_baseline["auc"].value == 0
    with tracking(world.uri) as client:
        assert client.get_model_version("equal", "2").tags["tact.promoted_after"] == "1"


def test_a_worse_version_stays_out(world):
    world.train("worse")
    world.promote("worse")
    stump = learned.FAST.lightgbm.model_copy(update={"trees": 1, "num_leaves": 2})
    world.train("worse", lightgbm=stump)
    result = world.promote("worse")
    assert not result.promoted
    assert Reason.AUC_BELOW_CHAMPION in reasons(result)
    assert world.champion("worse") == "1"
    with tracking(world.uri) as client:
        assert "tact.promoted_by" not in client.get_model_version("worse", "2").tags


def test_bounds_hold_for_the_first_champion_too(world):
    world.train("strict")
    gate = GateConfig(auc_min=0.99, calibration_error_max=0.0001, minimum_positives=599)
    result = world.promote("strict", gate=gate)
    assert reasons(result) == [Reason.TOO_FEW_POSITIVES, Reason.AUC_TOO_LOW, Reason.MISCALIBRATED]
    assert world.champion("strict") is None


def test_rows_that_it_learned_from_prove_nothing(world):
    world.train("seen")
    assert reasons(world.promote("seen", dataset="train")) == [Reason.ROWS_SEEN]
    assert world.promote("seen", dataset="train", seen_rows="allow").promoted


def test_a_broken_bundle_is_not_promoted(world):
    folder = path_of(world.train("broken").bundle_uri)
    files = learned.files(folder)
    for name, content in files.items():
        (folder / name).write_bytes(content[:-5])
        assert reasons(world.promote("broken")) == [Reason.BUNDLE_BROKEN]
        (folder / name).unlink()
        assert reasons(world.promote("broken")) == [Reason.BUNDLE_BROKEN]
        (folder / name).write_bytes(content)
    calibration = json.loads(files["manifest.json"])["calibration"] | {"intercept": 0.5}
    (folder / "manifest.json").write_bytes(learned.resealed(files, calibration=calibration)["manifest.json"])
    (objection,) = world.promote("broken").objections
    assert objection.detail == "golden scores differ"
    shutil.rmtree(folder)
    assert reasons(world.promote("broken")) == [Reason.BUNDLE_BROKEN]
    assert world.champion("broken") is None


def test_another_outcome_never_replaces_a_champion(world):
    world.train("outcome")
    world.promote("outcome")
    config = TrainConfig(
        dataset=world.folder / "train",
        model_name="outcome",
        outcome="visited",
        tracking_uri=world.uri,
        **dict(learned.FAST),
    )
    train.run(config, now=learned.NOW)
    assert reasons(world.promote("outcome", incomparable_champion="replace")) == [Reason.OUTCOME_DIFFERS]


def test_a_champion_that_cannot_be_compared_is_replaced_only_if_asked(world):
    broken = world.train("incomparable")
    world.promote("incomparable")
    (path_of(broken.bundle_uri) / "model.txt").unlink()
    world.train("incomparable")
    assert reasons(world.promote("incomparable")) == [Reason.CHAMPION_NOT_COMPARABLE]
    assert world.promote("incomparable", incomparable_champion="replace").promoted
    assert world.champion("incomparable") == "2"


def test_every_examination_leaves_its_report(world):
    result = world.train("reported")
    world.promote("reported")
    report = json.loads((path_of(result.bundle_uri).parent / "promotion" / "gate.json").read_text())
    assert report["objections"] == []
    assert report["report"]["metrics"]["auc"]["value"] > 0.7
