"""The metrics of the event stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

RESULTS: Final = ("applied", "dead", "postponed")
CAUSES: Final = ("connection", "store", "overloaded", "defect")
REASONS: Final = ("unreadable", "too_large", "invalid", "reused", "defect")


class StreamMetrics:
    """Measures how far the stream's consumer is behind, and what becomes of messages."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge(
            "tact_features_stream_connected",
            "1 while events are taken from the stream, 0 while it is out of reach or none is set.",
            registry=registry,
        )
        self.messages = Counter(
            "tact_features_stream_messages",
            "Messages of the stream, by what became of them: applied, dead or postponed.",
            ["result"],
            registry=registry,
        )
        self.dead = Counter(
            "tact_features_stream_dead_letters",
            "Messages that no repetition could help, by reason.",
            ["reason"],
            registry=registry,
        )
        self.errors = Counter(
            "tact_features_stream_errors",
            "What kept the stream from being consumed: connection, store, overloaded or defect.",
            ["cause"],
            registry=registry,
        )
        self.pending = Gauge(
            "tact_features_stream_pending",
            "Messages that the stream holds and that are not applied, as last told by its server.",
            registry=registry,
        )
        self.applied_time = Gauge(
            "tact_features_stream_applied_timestamp_seconds",
            "When a message was applied last, in seconds since 1970; 0 before the first.",
            registry=registry,
        )
        self._oldest = Gauge(
            "tact_features_stream_oldest_seconds",
            "How long the oldest message that is not applied has been waiting; 0 where none is.",
            registry=registry,
        )
        for counter, values in ((self.messages, RESULTS), (self.dead, REASONS), (self.errors, CAUSES)):
            for value in values:
                counter.labels(value)

    def watch_age(self, age_seconds: Callable[[], float]) -> None:
        """Ask for the age of the oldest message whenever metrics are collected."""
        self._oldest.set_function(age_seconds)
