import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.features.metrics import FeatureMetrics
from services.features.settings import FeatureSettings

ROOT = Path(__file__).parents[3]
README = (ROOT / "services" / "features" / "README.md").read_text()


def test_every_setting_and_no_other_is_documented():
    variables = {
        field.validation_alias or f"TACT_FEATURES_{name.upper()}"
        for name, field in FeatureSettings.model_fields.items()
    }
    assert set(re.findall(r"^\| `(TACT_\w+)`", README, re.MULTILINE)) == variables


def test_every_metric_and_no_other_is_documented():
    registry = CollectorRegistry()
    FeatureMetrics(registry)
    declared = {metric.name + ("_total" if metric.type == "counter" else "") for metric in registry.collect()}
    assert set(re.findall(r"tact_features_\w+", README)) == declared


def test_every_promise_names_a_test_that_exists():
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", README):
        assert f"def {name}(" in tests
