"""The dashboards can be read by people and by Grafana."""

import subprocess
from itertools import combinations

import pytest
import yaml
from dashboards import DASHBOARDS, INFRA, QUERIES, SCRAPING
from monitoring import program

PANELS = [panel for dashboard in DASHBOARDS.values() for panel in dashboard["panels"]]
SOURCE = yaml.safe_load((INFRA / "grafana/provisioning/datasources/prometheus.yaml").read_text())[
    "datasources"
][0]
ROOMY = 24


def overlap(first, second):
    a, b = first["gridPos"], second["gridPos"]
    return (
        a["x"] < b["x"] + b["w"]
        and b["x"] < a["x"] + a["w"]
        and a["y"] < b["y"] + b["h"]
        and b["y"] < a["y"] + a["h"]
    )


def test_dashboards_are_named_by_their_files():
    assert {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()} == {
        "decisions-now": "decisions-now"
    }


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_have_a_place_of_their_own(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= ROOMY for panel in panels)
    assert not [
        (first["title"], second["title"])
        for first, second in combinations(panels, 2)
        if overlap(first, second)
    ]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_explains_itself(panel):
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert f"| {panel['title']} |" in (INFRA / "README.md").read_text()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_the_provisioned_source(panel):
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert sources == [{"type": SOURCE["type"], "uid": SOURCE["uid"]}] * len(sources)


def test_rates_span_several_scrapes():
    assert SOURCE["jsonData"]["timeInterval"] == SCRAPING["global"]["scrape_interval"]
    for query in QUERIES:
        assert query.expression.count("[") == query.expression.count("[$__rate_interval]")


def test_prometheus_accepts_its_configuration():
    promtool = program("promtool")
    check = subprocess.run(
        [promtool, "check", "config", "--lint-fatal", str(INFRA / "prometheus/prometheus.yml")],
        capture_output=True,
        text=True,
    )
    assert check.returncode == 0, check.stderr
