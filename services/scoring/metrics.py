"""Every metric of the scoring service. No label holds a customer or anything unbounded."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000, 100_000)
_SECONDS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


class ScoringMetrics:
    """Counts scores and model changes into a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows = Histogram(
            "tact_scoring_rows", "Candidates scored in one call.", buckets=_ROWS, registry=registry
        )
        self.invalid_items = Counter(
            "tact_scoring_invalid_items", "Items that could not be scored.", registry=registry
        )
        self.predict_seconds = Histogram(
            "tact_scoring_predict_seconds",
            "Time in the model for one call, the wait for a thread included, by where it ran.",
            ["where"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.model_info = Gauge(
            "tact_scoring_model_info",
            "1 for the model version that is served.",
            ["model_name", "model_version"],
            registry=registry,
        )
        self.load_seconds = Gauge(
            "tact_scoring_model_load_seconds",
            "Time it took to check and warm up the model version that is served.",
            registry=registry,
        )
        self.refused = Counter(
            "tact_scoring_model_refused", "Model versions refused, by cause.", ["cause"], registry=registry
        )
        self.registry_errors = Counter(
            "tact_scoring_registry_errors", "Times that the registry could not be asked.", registry=registry
        )
        for where in ("inline", "executor"):
            self.predict_seconds.labels(where)
