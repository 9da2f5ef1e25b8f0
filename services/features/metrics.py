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
            "Histories needed: found in the state, grown by what was added since, or loaded from the store.",
            ["source"],
            registry=registry,
        )
        self.sequence = Gauge("tact_features_sequence", "The store's newest sequence.", registry=registry)
        self.overflows = Counter(
            "tact_features_state_overflows",
            "Histories that were loaded and not held, since they have too many events.",
            registry=registry,
        )
        self.state_errors = Counter(
            "tact_features_state_errors", "Calls to the state store that failed.", registry=registry
        )
        self.held_customers = Gauge(
            "tact_features_held_customers", "Customers whose state this process holds.", registry=registry
        )
        self.held_events = Gauge(
            "tact_features_held_events",
            "Events of all the states that this process holds.",
            registry=registry,
        )
        self._waiting = Gauge(
            "tact_features_waiting_writes", "Writes that wait for the store.", registry=registry
        )
        self.playbook = FollowMetrics(registry, "playbook", Cause)
        self.stream = StreamMetrics(registry)
        for result in ("stored", "duplicate", "reused", "invalid"):
            self.events.labels(result)
        for source in ("state", "grown", "store"):
            self.histories.labels(source)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Read the depth of the write queue whenever metrics are collected."""
        self._waiting.set_function(depth)
