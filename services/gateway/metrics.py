"""Every metric of the gateway. No label holds a customer, a request or anything unbounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.chassis.following import FollowMetrics
from services.engine.playbook.store import Cause as Refusal
from services.gateway.domain.decision import Decision
from services.gateway.domain.knowledge import Cause, Source
from services.gateway.domain.ledger import Claim

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_HOUR, _DAY = 3_600, 86_400
_AGES = (1, 10, 60, 600, _HOUR, 6 * _HOUR, _DAY, 7 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY)


class GatewayMetrics:
    """Counts decisions and outcomes into a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "tact_decisions", "Decisions made, without repeats.", ["mode", "served_by"], registry=registry
        )
        self._seconds = Histogram(
            "tact_decision_seconds", "From request to logged answer.", buckets=_SECONDS, registry=registry
        )
        self._stages = Histogram(
            "tact_decision_stage_seconds",
            "One stage of a decision.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._degradations = Counter(
            "tact_decision_degradations",
            "What decisions did without.",
            ["source", "cause"],
            registry=registry,
        )
        for source in Source:
            for cause in Cause:
                # A series that begins with its first event shows no rate for it.
                self._degradations.labels(source.name.lower(), cause.name.lower())
        self._actions = Counter(
            "tact_decision_actions",
            "Actions returned first, do_nothing included.",
            ["action", "channel"],
            registry=registry,
        )
        self._arms = Counter("tact_decision_arms", "Decisions in a control arm.", ["arm"], registry=registry)
        self._rule_failures = Counter(
            "tact_rule_failures", "Decisions in which a rule ended in an error.", ["rule"], registry=registry
        )
        self._feature_age = Histogram(
            "tact_decision_feature_age_seconds",
            "From the newest event behind a decision's features to its decision time.",
            buckets=_AGES,
            registry=registry,
        )
        self._outcomes = Counter(
            "tact_outcomes",
            "Outcomes reported, by what became of them.",
            ["verdict", "kind"],
            registry=registry,
        )
        self._waiting = Gauge(
            "tact_gateway_waiting_writes", "Writes that wait for the decision log.", registry=registry
        )
        self._claims = Counter(
            "tact_claims",
            "Deliveries claimed, by verdict and, where cancelled, by reason.",
            ["verdict", "reason"],
            registry=registry,
        )
        self._reservations = Counter(
            "tact_reservations", "Slots of the contact ledger that decisions reserved.", registry=registry
        )
        self._over_cap = Counter(
            "tact_over_cap",
            "Deliveries reported that nobody had claimed; they count all the same, over a cap or not.",
            registry=registry,
        )
        self._conflicts = Counter(
            "tact_ledger_conflicts",
            "Decisions and claims that began again because another came first for the customer.",
            registry=registry,
        )
        self.playbook = FollowMetrics(registry, "playbook", Refusal)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Read the depth of the log's queue whenever metrics are collected."""
        self._waiting.set_function(depth)

    def decided(self, decision: Decision, logging: timedelta) -> None:
        """Count one new decision; ``logging`` is the time that the log took."""
        mode = "live" if decision.checked.request.live else "dry_run"
        self._decisions.labels(mode, decision.served_by.name.lower()).inc()
        self._seconds.observe((decision.total + logging).total_seconds())
        for stage, duration in decision.timings.items():
            self._stages.labels(stage).observe(duration.total_seconds())
        self._stages.labels("log").observe(logging.total_seconds())
        for degradation in decision.degradations:
            self._degradations.labels(degradation.source.name.lower(), degradation.cause.name.lower()).inc()
        if decision.arm:
            self._arms.labels(decision.arm).inc()
        for rule in () if decision.situation is None else sorted(decision.situation.verdicts.failed):
            self._rule_failures.labels(rule).inc()
        if decision.actions:
            first = decision.actions[0].fate
            self._actions.labels(first.action_id, first.treatment.channel).inc()
        else:
            self._actions.labels("do_nothing", "").inc()
        self._reservations.inc(sum(chosen.offer.claim_by is not None for chosen in decision.actions))
        if (age := _feature_age(decision)) is not None:
            self._feature_age.observe(age)

    def claimed(self, claim: Claim) -> None:
        """Count one new verdict on a claim."""
        self._claims.labels("go" if claim.goes else "cancelled", claim.code.lower()).inc()

    def unclaimed(self, count: int) -> None:
        """Count deliveries that nobody had claimed."""
        self._over_cap.inc(count)

    def overtaken(self) -> None:
        """Count one conflict on a customer's ledger."""
        self._conflicts.inc()

    def outcome(self, verdict: str, kind: str) -> None:
        """Count one outcome: accepted, duplicate, reused, unknown, erased or invalid."""
        self._outcomes.labels(verdict, kind.lower()).inc()


def _feature_age(decision: Decision) -> float | None:
    features = None if decision.situation is None else decision.situation.features
    if features is None:
        return None
    known = [age for age in features.ages.values() if not math.isnan(age)]
    # Last good features have aged since they were read.
    since = (decision.checked.decision_time - features.as_of).total_seconds()
    return min(known) + since if known else None
