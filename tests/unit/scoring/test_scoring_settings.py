import pytest

from services.chassis.settings import InvalidSettings, load
from services.scoring.settings import ScoringSettings


def test_defaults():
    settings = load(ScoringSettings, {})
    assert (settings.port, settings.metrics_port) == (7403, 9403)
    assert (settings.model_name, settings.alias) == ("tact-retail", "champion")


def test_the_registry_lies_under_the_home_folder(tmp_path):
    settings = load(ScoringSettings, {"TACT_HOME": str(tmp_path)})
    assert settings.registry_uri == f"sqlite:///{tmp_path}/mlflow/mlflow.db"


def test_a_tracking_server_can_be_named():
    settings = load(ScoringSettings, {"TACT_SCORING_TRACKING_URI": "http://127.0.0.1:5000"})
    assert settings.registry_uri == "http://127.0.0.1:5000"


def test_a_mistyped_variable_is_an_error():
    with pytest.raises(InvalidSettings, match="TACT_SCORING_MODEL_NAME"):
        load(ScoringSettings, {"TACT_SCORING_MODEL_NAMES": "x"})


def test_training_and_scoring_agree_on_the_default_store(tmp_path):
    from training.jobs.tracking import default_tracking_uri

    environment = {"TACT_HOME": str(tmp_path)}
    assert default_tracking_uri(environment) == load(ScoringSettings, environment).registry_uri
