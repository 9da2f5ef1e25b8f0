"""Every metric of the profile service. No label holds a customer or anything unbounded."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.chassis.following import FollowMetrics
from services.engine.playbook.store import Cause


class ProfileMetrics:
    """Counts updates, consents and reads into a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.updates = Counter(
            "tact_profile_updates",
            "Updates received, by what became of them: applied, identity_taken or invalid.",
            ["result"],
            registry=registry,
        )
        self.consents = Counter(
            "tact_profile_consents",
            "Consents received, by what became of them: "
            "recorded, duplicate, reused, customer_unknown or invalid.",
            ["result"],
            registry=registry,
        )
        self.reads = Counter(
            "tact_profile_reads",
            "Profiles asked for, by what was found: found, unknown or invalid.",
            ["result"],
            registry=registry,
        )
        self.links = Counter(
            "tact_profile_links",
            "Links and unlinks received, by what became of them: "
            "linked, duplicate, reused, customer_unknown or not_linked.",
            ["act", "result"],
            registry=registry,
        )
        self._waiting = Gauge(
            "tact_profile_waiting_writes", "Writes that wait for the store.", registry=registry
        )
        self._borrowed = Gauge(
            "tact_profile_borrowed_values", "Borrowed values held in memory.", registry=registry
        )
        self.evicted = Counter(
            "tact_profile_borrowed_evicted",
            "Borrowed values that went before their time was up, for want of room.",
            registry=registry,
        )
        self.playbook = FollowMetrics(registry, "playbook", Cause)
        for counter, results in (
            (self.updates, ("applied", "identity_taken", "invalid")),
            (self.consents, ("recorded", "duplicate", "reused", "customer_unknown", "invalid")),
            (self.reads, ("found", "unknown", "invalid")),
        ):
            for result in results:
                counter.labels(result)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Read the depth of the write queue whenever metrics are collected."""
        self._waiting.set_function(depth)

    def watch_borrowed(self, held: Callable[[], int]) -> None:
        """Count the borrowed values whenever metrics are collected."""
        self._borrowed.set_function(held)
