"""Puts the gateway together: the one place that picks its adapters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
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
from services.chassis.editions import Editions
from services.chassis.following import following
from services.chassis.postgres import Postgres
from services.chassis.rpc import Service
from services.chassis.sqlite import Database
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.store import Store
from services.gateway.adapters.postgres_log import PostgresLog
from services.gateway.adapters.recollection import ProtoStory, delivery_of
from services.gateway.adapters.replica import ProtoReplica
from services.gateway.adapters.sealing import seal_of
from services.gateway.adapters.sqlite_log import SqliteLog
from services.gateway.adapters.stubs import StubFeatures, StubProfiles, StubScorer
from services.gateway.claims import ClaimHandler
from services.gateway.contributions import Contributions
from services.gateway.customers import CustomerHandler
from services.gateway.domain.knowledge import Unavailable
from services.gateway.domain.last_good import LastGood
from services.gateway.explanations import ExplainHandler
from services.gateway.handlers import DecideHandler
from services.gateway.journal import Journal
from services.gateway.known_model import KnownModel
from services.gateway.library import Library
from services.gateway.metrics import GatewayMetrics
from services.gateway.outcomes import OutcomeHandler
from services.gateway.ports import DecisionLog
from services.gateway.propensities import Propensities
from services.gateway.remakes import Remakes
from services.gateway.replays import ReplayHandler, Replays
from services.gateway.rescoring import ServedModel
from services.gateway.resolver import Resolver
from services.gateway.rollout import Rollout, are_the_same
from services.gateway.servicer import DecisionServicer
from services.gateway.settings import GatewaySettings
from services.gateway.turns import Turns

DEFAULT_TIMEOUT_SECONDS = 1.0
ROLLOUT_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.001
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
                ["BatchScore", "ExplainScores", "GetModel"],
            ),
        ):
            descriptor = module.DESCRIPTOR.services_by_name[service]
            opened = await stack.enter_async_context(channel(address, descriptor, safe=safe))
            stubs[name] = GrpcStub(opened, descriptor, DEFAULT_TIMEOUT_SECONDS)
        yield Stubs(**stubs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workshop:
    """Builds what decides by one playbook, on what is the same for all."""

    settings: GatewaySettings
    stubs: Stubs
    log: DecisionLog
    scorer: StubScorer
    journal: Journal
    turns: Turns
    now: Callable[[], datetime]

    def handler(self, playbook: Playbook, before: DecideHandler | None = None) -> DecideHandler:
        """Make the handler that follows the one ``before``, whose last good features it keeps if it can."""
        features = FeatureSet(playbook)
        kept = before and are_the_same(before, playbook, features)
        return DecideHandler(
            playbook=playbook,
            feature_set=features,
            resolver=Resolver(
                profiles=StubProfiles(self.stubs.profile, playbook),
                features=StubFeatures(self.stubs.features, playbook, features),
                last_good=before.resolver.last_good if before and kept else self._last_good(),
                now=self.now,
            ),
            propensities=Propensities(
                playbook=playbook,
                feature_set=features,
                scorer=self.scorer,
                model=KnownModel(self.scorer, self.log, playbook, features),
            ),
            journal=self.journal,
            now=self.now,
            monotonic=time.perf_counter_ns,
            turns=self.turns,
        )

    def _last_good(self) -> LastGood:
        return LastGood(self.settings.last_good_customers, self.settings.last_good_age)


@asynccontextmanager
async def open_service(
    settings: GatewaySettings,
    playbook: Playbook,
    stubs: Stubs,
    playbooks: Store | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncIterator[Service]:
    """Build the gateway on its store and the given stubs.

    Of ``playbooks`` it follows the current version; ``now`` is UTC.
    """
    async with AsyncExitStack() as stack:
        log, database = await stack.enter_async_context(_opened(settings))
        registry = CollectorRegistry()
        metrics = GatewayMetrics(registry)
        metrics.watch_queue(lambda: database.queue_depth)
        metrics.playbook.show(playbook.head.name, playbook.version)
        scorer = StubScorer(stubs.scoring)
        journal = Journal(log=log, now=now, monotonic=time.perf_counter_ns, observe=metrics.decided)
        workshop = _Workshop(
            settings=settings,
            stubs=stubs,
            log=log,
            scorer=scorer,
            journal=journal,
            turns=Turns(metrics.overtaken),
            now=now,
        )
        editions = Editions(playbook.version, workshop.handler(playbook))
        rollout = Rollout(
            editions=editions,
            make=lambda playbook: workshop.handler(playbook, editions.current),
            observe=lambda playbook: metrics.playbook.show(playbook.head.name, playbook.version),
            patience_seconds=ROLLOUT_PATIENCE_SECONDS,
        )
        claims = ClaimHandler(
            current=lambda: editions.current, delivery_of=delivery_of, observe=metrics.claimed
        )
        remakes = Remakes(edition=Library(editions, playbooks).edition, pause=_pause)
        explain = ExplainHandler(
            log=log,
            contributions=Contributions(scorer=scorer, pause=_pause),
            remakes=remakes,
            recall=ProtoStory,
        )
        replay = ReplayHandler(
            log=log,
            replays=Replays(remakes=remakes, seal=seal_of, recall=ProtoReplica),
            rescorer=ServedModel(scorer=scorer),
        )
        outcomes = OutcomeHandler(
            log=log,
            playbook=lambda: editions.current.playbook,
            now=now,
            observe=metrics.outcome,
            observe_unclaimed=metrics.unclaimed,
        )

        def forget(customer_ids: Collection[str]) -> None:
            for version in editions.versions:
                if (held := editions.get(version)) is not None:
                    held.resolver.last_good.forget(customer_ids)

        customers = CustomerHandler(log=log, now=now, forget=forget)
        await stack.enter_async_context(
            following(
                "gateway",
                playbooks,
                playbook.version,
                rollout.take,
                metrics.playbook,
                settings.playbook_poll_seconds,
            )
        )

        async def warm_up() -> None:
            with suppress(Unavailable):
                await editions.current.propensities.model.refresh(DEFAULT_TIMEOUT_SECONDS)

        yield Service(
            name="gateway",
            descriptor=decision_service_pb2.DESCRIPTOR.services_by_name["DecisionService"],
            servicer=DecisionServicer(editions, claims, explain, replay, outcomes, customers),
            registry=registry,
            warm_up=warm_up,
            ready=lambda: database.is_writable,
        )


@asynccontextmanager
async def _opened(settings: GatewaySettings) -> AsyncIterator[tuple[DecisionLog, Database | Postgres]]:
    """Open the decision log in the store that the settings name."""
    if url := settings.store_url:
        async with Postgres.open(
            url,
            _scripts(_MIGRATIONS / "postgresql"),
            schema="gateway",
            connections=settings.store_connections,
            queue_limit=settings.log_queue,
        ) as postgres:
            yield PostgresLog(postgres), postgres
    else:
        async with Database.open(
            settings.file, _scripts(_MIGRATIONS), queue_limit=settings.log_queue
        ) as database:
            yield SqliteLog(database), database


def _scripts(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("*.sql"))]


async def _pause() -> None:
    """Let go of the loop for about as long as a bit of a story holds it."""
    await asyncio.sleep(_PAUSE_SECONDS)
