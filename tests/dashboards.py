"""The provisioned dashboards and the scrape configuration, as data."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

INFRA = Path(__file__).parents[1] / "infra"
DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in sorted((INFRA / "grafana/dashboards").glob("*.json"))
}
SCRAPING = yaml.safe_load((INFRA / "prometheus/prometheus.yml").read_text())
LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Query:
    """One query of one panel."""

    panel: str
    reference: str
    expression: str
    legend: str

    def __str__(self):
        return f"{self.panel} {self.reference}"

    @property
    def legend_labels(self):
        """Name the labels that the legend shows."""
        return set(LEGEND_LABEL.findall(self.legend))


QUERIES = [
    Query(f"{dashboard['title']}: {panel['title']}", target["refId"], target["expr"], target["legendFormat"])
    for dashboard in DASHBOARDS.values()
    for panel in dashboard["panels"]
    for target in panel["targets"]
]
VARIABLES = [variable for dashboard in DASHBOARDS.values() for variable in dashboard["templating"]["list"]]
TARGET_LABELS = {"job", "instance"}.union(
    *(target["labels"] for job in SCRAPING["scrape_configs"] for target in job["static_configs"])
)
"""The labels that every series has from Prometheus."""


def label_values(variable):
    """Return the metric and the label whose values a variable offers."""
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
    return metric, label
