"""Puts the gateway together: the one place that picks its adapters."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry
from tact.decision.v1 import decision_service_pb2
from tact.features.v1 import feature_service_pb2
from tact.profile.v1 import profile_service_pb2
from tact.scoring.v1 import scoring_service_pb2

from services.chassis.clients import GrpcStub, Stub, channel
from services.chassis.rpc import Service
from services.chassis.sqlite import Database
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.playbook import Playbook
from services.gateway.adapters.sqlite_log import SqliteLog
from services.gateway.adapters.stubs import StubFeatures, StubProfiles, StubScorer
from services.gateway.domain.knowledge import Unavailable
from services.gateway.domain.last_good import LastGood
from services.gateway.handlers import DecideHandler
from services.gateway.journal import Journal
from services.gateway.known_model import KnownModel
from services.gateway.metrics import GatewayMetrics
from services.gateway.outcomes import OutcomeHandler
from services.gateway.propensities import Propensities
from services.gateway.resolver import Resolver
from services.gateway.servicer import DecisionServicer
from services.gateway.settings import GatewaySettings

DEFAULT_TIMEOUT_SECONDS = 1.0
_MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stubs:
    """The services that the gateway asks."""

    profile: Stub
    features: Stub
    scoring: Stub


@asynccontextmanager
async def connected(settings: GatewaySettings) -> AsyncIterator[Stubs]:
    """Open channels to the other services; reads may be retried, nothing else."""
    async with AsyncExitStack() as stack:
        stubs = {}
        for name, address, module, service, safe in (
            (
                "profile",
                settings.profile_address,
                profile_service_pb2,
                "ProfileService",
                ["BatchGetProfiles"],
            ),
            (
                "features",
                settings.features_address,
                feature_service_pb2,
                "FeatureService",
                ["BatchGetFeatures"],
            ),
            (
                "scoring",
                settings.scoring_address,
                scoring_service_pb2,
                "ScoringService",
                ["BatchScore", "GetModel"],
            ),
        ):
            descriptor = module.DESCRIPTOR.services_by_name[service]
            opened = await stack.enter_async_context(channel(address, descriptor, safe=safe))
            stubs[name] = GrpcStub(opened, descriptor, DEFAULT_TIMEOUT_SECONDS)
        yield Stubs(**stubs)


@asynccontextmanager
async def open_service(settings: GatewaySettings, playbook: Playbook, stubs: Stubs) -> AsyncIterator[Service]:
    """Build the gateway on its store and the given stubs."""
    migrations = [path.read_text() for path in sorted(_MIGRATIONS.glob("*.sql"))]
    path = settings.home / "gateway.sqlite"
    async with Database.open(path, migrations, queue_limit=settings.log_queue) as database:
        registry = CollectorRegistry()
        metrics = GatewayMetrics(registry)
        metrics.watch_queue(lambda: database.queue_depth)
        metrics.playbook(playbook.head.name, playbook.version)
        features = FeatureSet(playbook)
        log = SqliteLog(database)
        scorer = StubScorer(stubs.scoring)
        model = KnownModel(scorer, log, playbook, features)
        resolver = Resolver(
            profiles=StubProfiles(stubs.profile, playbook),
            features=StubFeatures(stubs.features, playbook, features),
            last_good=LastGood(settings.last_good_customers, settings.last_good_age),
            now=_now,
        )
        decide = DecideHandler(
            playbook=playbook,
            feature_set=features,
            resolver=resolver,
            propensities=Propensities(feature_set=features, scorer=scorer, model=model),
            journal=Journal(log=log, now=_now, monotonic=time.perf_counter_ns, observe=metrics.decided),
            now=_now,
            monotonic=time.perf_counter_ns,
        )
        outcomes = OutcomeHandler(log=log, now=_now, observe=metrics.outcome)

        async def warm_up() -> None:
            with suppress(Unavailable):
                await model.refresh(DEFAULT_TIMEOUT_SECONDS)

        yield Service(
            name="gateway",
            descriptor=decision_service_pb2.DESCRIPTOR.services_by_name["DecisionService"],
            servicer=DecisionServicer(decide, outcomes),
            registry=registry,
            warm_up=warm_up,
            ready=lambda: database.is_writable,
        )


def _now() -> datetime:
    return datetime.now(UTC)
