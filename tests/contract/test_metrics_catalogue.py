"""Dashboards ask only for metrics and labels that the code declares."""

import re
from itertools import chain

import pytest
from dashboards import QUERIES, TARGET_LABELS, VARIABLES, label_values
from prometheus_client import CollectorRegistry

from services.chassis.telemetry import RpcMetrics
from services.features.metrics import FeatureMetrics
from services.gateway.metrics import GatewayMetrics
from services.profile.metrics import ProfileMetrics
from services.scoring.metrics import ScoringMetrics

SERVICES = (GatewayMetrics, ProfileMetrics, FeatureMetrics, ScoringMetrics, RpcMetrics)
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"([A-Za-z_:][\w:]*)\s*\{([^}]*)\}")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
METRIC = re.compile(r"\b([A-Za-z_:][\w:]*)\b(?!\s*\()")


def collectors(metrics):
    """Return what one service declares."""
    registry = CollectorRegistry()
    metrics(registry)
    # A family without samples yet tells its labels nowhere else.
    return list(registry._collector_to_names)


def declared():
    """Return the labels of every series that a service can show, by name."""
    series = {"up": set(TARGET_LABELS)}
    for collector in chain.from_iterable(map(collectors, SERVICES)):
        (family,) = collector.describe()
        for suffix in SUFFIXES[family.type]:
            bounds = {"le"} if suffix == "_bucket" else set()
            series[family.name + suffix] = {*collector._labelnames, *bounds, *TARGET_LABELS}
    return series


def asked(expression):
    """Return the metrics of an expression, and the labels that it matches or groups by."""
    text = re.sub(r"\[[^]]*\]", "", expression)
    labels = {
        label.strip() for group in GROUPING.findall(text) for label in group.split(",") if label.strip()
    }
    labels |= {label for _, inner in SELECTOR.findall(text) for label in MATCHER.findall(inner)}
    text = SELECTOR.sub(r"\1", GROUPING.sub("", text))
    return set(METRIC.findall(text)) - WORDS, labels


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_panel_asks_for_what_the_code_declares(query):
    metrics, labels = asked(query.expression)
    series = declared()
    assert metrics
    assert metrics <= series.keys()
    for metric in metrics:
        assert labels | query.legend_labels <= series[metric], metric


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable["name"])
def test_a_variable_offers_the_values_of_a_declared_label(variable):
    metric, label = label_values(variable)
    assert label in declared()[metric]


@pytest.mark.parametrize(
    ("expression", "metrics", "labels"),
    [
        ("up", {"up"}, set()),
        ('sum(rate(a_total{x="b",y!~"c|d"}[5m])) > 0', {"a_total"}, {"x", "y"}),
        ("sum by (le, s) (rate(h_bucket[$__rate_interval]))", {"h_bucket"}, {"le", "s"}),
        ("(sum(a) or vector(0)) / on (z) b:c", {"a", "b:c"}, {"z"}),
    ],
)
def test_expressions_are_read(expression, metrics, labels):
    assert asked(expression) == (metrics, labels)


def test_labels_and_types_come_from_the_code():
    series = declared()
    assert series["tact_decisions_total"] - TARGET_LABELS == {"mode", "served_by"}
    assert series["grpc_server_handling_seconds_bucket"] - TARGET_LABELS == {
        "grpc_service",
        "grpc_method",
        "le",
    }
    assert "tact_decisions" not in series
