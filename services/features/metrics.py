"""Every metric of the feature service. No label holds a customer or anything unbounded."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.chassis.following import FollowMetrics
from services.engine.playbook.store import Cause
from services.features.stream_metrics import StreamMetrics


class FeatureMetrics:
    """Counts events and reads into a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "tact_features_events",
            "Events received, by what became of them: stored, duplicate, reused or invalid.",
            ["result"],
            registry=registry,
        )
        self.histories = Counter(
            "tact_features_histories",
            "Histories needed, by where they were found: cache or store.",
            ["source"],
            registry=registry,
        )
        self.sequence = Gauge("tact_features_sequence", "The store's newest sequence.", registry=registry)
        self.cached_customers = Gauge(
            "tact_features_cached_customers", "Customers whose history is cached.", registry=registry
        )
        self.cached_events = Gauge(
            "tact_features_cached_events", "Events of all the cached histories.", registry=registry
        )
        self._waiting = Gauge(
            "tact_features_waiting_writes", "Writes that wait for the store.", registry=registry
        )
        self.playbook = FollowMetrics(registry, "playbook", Cause)
        self.stream = StreamMetrics(registry)
        for result in ("stored", "duplicate", "reused", "invalid"):
            self.events.labels(result)
        for source in ("cache", "store"):
            self.histories.labels(source)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Read the depth of the write queue whenever metrics are collected."""
        self._waiting.set_function(depth)
