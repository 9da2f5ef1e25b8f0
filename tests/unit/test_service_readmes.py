"""The README of each service agrees with its settings, its metrics and its tests."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.features.metrics import FeatureMetrics
from services.features.settings import FeatureSettings
from services.gateway.metrics import GatewayMetrics
from services.gateway.settings import GatewaySettings
from services.profile.metrics import ProfileMetrics
from services.profile.settings import ProfileSettings
from services.scoring.domain.bundle import Cause
from services.scoring.metrics import ScoringMetrics
from services.scoring.settings import ScoringSettings

ROOT = Path(__file__).parents[2]
SERVICES = {
    "features": (FeatureSettings, FeatureMetrics),
    "gateway": (GatewaySettings, GatewayMetrics),
    "profile": (ProfileSettings, ProfileMetrics),
    "scoring": (ScoringSettings, ScoringMetrics),
}


def readme(service):
    return (ROOT / "services" / service / "README.md").read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_and_no_other_is_documented(service):
    settings, _ = SERVICES[service]
    variables = {
        field.validation_alias or f"TACT_{service.upper()}_{name.upper()}"
        for name, field in settings.model_fields.items()
    }
    assert set(re.findall(r"^\| `(TACT_\w+)`", readme(service), re.MULTILINE)) == variables


@pytest.mark.parametrize("service", SERVICES)
def test_every_metric_and_no_other_is_documented(service):
    registry = CollectorRegistry()
    SERVICES[service][1](registry)
    declared = {metric.name + ("_total" if metric.type == "counter" else "") for metric in registry.collect()}
    assert set(re.findall(r"`(tact_[a-z_]+)", readme(service))) == declared


def test_every_cause_of_a_refusal_is_documented():
    rows = set(re.findall(r"^\| `(\w+)` \|", readme("scoring"), re.MULTILINE))
    assert set(Cause) == {row for row in rows if not row.startswith(("TACT_", "tact_"))}


@pytest.mark.parametrize("service", SERVICES)
def test_every_promise_names_a_test_that_exists(service):
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", readme(service)):
        assert f"def {name}(" in tests


def test_every_fault_names_tests_that_exist():
    text = (ROOT / "services" / "README.md").read_text()
    faults = text.partition("\n## Faults\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!fault ).*", faults, re.MULTILINE)
    assert len(rows) > 15
    assert all("::test_" in row for row in rows)
    for path, name in re.findall(r"`([\w/]+\.py)::(test_\w+)`", faults):
        assert f"def {name}(" in (ROOT / "tests" / path).read_text()
