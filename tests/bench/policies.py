"""What policies and traces cost the gateway: its own stages, on dependencies that answer from memory."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from tact.decision.v1 import decision_service_pb2 as pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from bench.population import PLAYBOOK
from bench.summary import spread
from services.engine.features.feature_set import FeatureSet
from services.engine.features.schema import fingerprint
from services.engine.playbook.loader import load
from services.engine.playbook.playbook import Playbook
from services.engine.policy.consent import Permission
from services.gateway.adapters.encoding import ProtoEncoder
from services.gateway.adapters.requests import decision_request
from services.gateway.domain.decision import Decision
from services.gateway.domain.knowledge import Model, Profile
from services.gateway.domain.last_good import LastGood
from services.gateway.fakes import InMemoryFeatures, InMemoryLog, InMemoryProfiles, InMemoryScorer
from services.gateway.handlers import DecideHandler
from services.gateway.journal import Journal
from services.gateway.known_model import KnownModel
from services.gateway.ports import DecisionLog
from services.gateway.propensities import Propensities
from services.gateway.resolver import Resolver
from services.gateway.turns import Turns

SIZES = (20, 100, 1_000)
STAGES = ("policy", "consent", "contact", "place")
CUSTOMER = "anna"


@dataclass(kw_only=True)
class Desk:
    """A gateway of one playbook, all in memory but its ``log``; ``decided`` is the last decision.

    ``customers`` may all be contacted; ``conflicts`` counts decisions that were overtaken.
    """

    playbook: Playbook
    log: DecisionLog = field(default_factory=InMemoryLog)
    customers: Sequence[str] = (CUSTOMER,)
    decided: Decision | None = None
    conflicts: int = 0

    def __post_init__(self) -> None:
        features, log = FeatureSet(self.playbook), self.log
        attributes: dict[str, Any] = {"age": 40, "segment": "gold"}
        permissions = {
            (purpose, channel): Permission(granted=True)
            for purpose in self.playbook.head.purposes
            for channel in self.playbook.head.channels
        }
        profiles = {
            customer: Profile(customer_id=customer, attributes=attributes, permissions=permissions)
            for customer in self.customers
        }
        layout = tuple(features.layout(features.customer_names))
        scorer = InMemoryScorer(
            model=Model(
                version="1",
                fingerprint=fingerprint(layout),
                layout=layout,
                priors={},
                overall_prior=0.1,
            )
        )
        self._features = features
        self._handler = DecideHandler(
            playbook=self.playbook,
            feature_set=features,
            resolver=Resolver(
                profiles=InMemoryProfiles(profiles=profiles),
                features=InMemoryFeatures(
                    customer=dict.fromkeys(features.customer_names, 2.0),
                    candidate=dict.fromkeys(features.candidate_names, 0.5),
                ),
                last_good=LastGood(10, timedelta(days=1)),
                now=_now,
            ),
            propensities=Propensities(
                playbook=self.playbook,
                feature_set=features,
                scorer=scorer,
                model=KnownModel(scorer, log, self.playbook, features),
            ),
            journal=Journal(log=log, now=_now, monotonic=time.perf_counter_ns, observe=self._observe),
            now=_now,
            monotonic=time.perf_counter_ns,
            turns=Turns(self._overtaken),
        )

    def decide_us(self, *, explained: bool) -> float:
        """Decide once; return what it took, in microseconds."""
        started = time.perf_counter()
        asyncio.run(self.decide(CUSTOMER, max_actions=3, explained=explained))
        return (time.perf_counter() - started) * 1e6

    async def decide(self, customer: str, *, max_actions: int, explained: bool = False) -> Any:
        """Decide once for a customer."""
        request = pb.DecideRequest(
            customer=profile_pb.CustomerKey(customer_id=customer),
            max_actions=max_actions,
            include_explanation=explained,
        )
        encoder = ProtoEncoder(request, "anonymous", self.playbook, self._features)
        return await self._handler.decide(decision_request(request, "anonymous"), "", lambda: None, encoder)

    def stage_us(self) -> float:
        """Return what policies, consent and place took of the last decision, in microseconds."""
        if self.decided is None:
            raise ValueError("nothing is decided yet")
        return sum(self.decided.timings[stage].total_seconds() for stage in STAGES) * 1e6

    def _overtaken(self) -> None:
        self.conflicts += 1

    def _observe(self, decision: Decision, logging: timedelta) -> None:
        self.decided = decision


def measure(rounds: int, decisions: int) -> dict[str, Any]:
    """Return the cost of the policy stages by number of candidates, and that of the whole trace.

    Sizes take turns within a round, as do decisions with and without a trace. A figure of a round is
    the median of its decisions; ``trace`` divides figures of the same round.
    """
    with TemporaryDirectory(prefix="tact-bench-") as name:
        desks = {size: Desk(playbook=load(grown(Path(name) / str(size), size))) for size in SIZES}
    stages: dict[int, list[float]] = {size: [] for size in SIZES}
    traces: dict[int, list[float]] = {size: [] for size in SIZES}
    for _, (size, desk) in itertools.product(range(rounds), desks.items()):
        plain, explained, inside = zip(*_turns(desk, max(3, decisions * SIZES[0] // size)), strict=True)
        stages[size].append(statistics.median(inside))
        traces[size].append(statistics.median(explained) / statistics.median(plain))
    return {
        "rules": len(desks[SIZES[0]].playbook.rules.rules),
        "stage_us": {str(size): spread(found) for size, found in stages.items()},
        "trace": {str(size): spread(found) for size, found in traces.items()},
    }


def _turns(desk: Desk, decisions: int) -> Iterator[tuple[float, float, float]]:
    desk.decide_us(explained=True)
    for _ in range(decisions):
        plain = desk.decide_us(explained=False)
        inside = desk.stage_us()
        yield plain, desk.decide_us(explained=True), inside


def grown(folder: Path, size: int) -> Path:
    """Write the benchmark's playbook with ``size`` actions, each a copy of one of its own."""
    folder.mkdir()
    for path in PLAYBOOK.glob("*.yaml"):
        (folder / path.name).write_text(path.read_text())
    catalogue = yaml.safe_load((folder / "actions.yaml").read_text())
    own: Sequence[Any] = list(catalogue["actions"].values())
    catalogue["actions"] = {f"action-{number:04}": own[number % len(own)] for number in range(size)}
    (folder / "actions.yaml").write_text(yaml.safe_dump(catalogue, sort_keys=False))
    return folder


def _now() -> datetime:
    return datetime.now(UTC)
