"""Follows the registry's champion, and serves a version only once it has proven itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.scoring.domain.bundle import BundleRefused, Cause, parse_bundle
from services.scoring.domain.model import Model, verify
from services.scoring.domain.model_text import check_whole
from services.scoring.metrics import ScoringMetrics
from services.scoring.ports import LoadBooster, ModelReference, ModelRegistry, RegistryUnavailable

logger: Final = logging.getLogger("tact.scoring")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A proven model, and since when this process serves it."""

    reference: ModelReference
    model: Model
    load_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The champion, where it failed its checks."""

    reference: ModelReference
    cause: Cause
    detail: str


def prove(files: Mapping[str, bytes], load_booster: LoadBooster) -> Model:
    """Make a model of a bundle's files.

    Raises:
        BundleRefused: it is not what training wrote, or does not score as it did then.
    """
    bundle = parse_bundle(files)
    check_whole(bundle.model_text)
    model = Model(bundle, load_booster(bundle.model_text))
    verify(model)
    return model


class ModelFollower:
    """Holds the model that is served.

    A version takes over by one assignment, so a request keeps the model it began with. A version
    that fails its checks is refused once and not tried again while it stays the champion; the
    version before it stays in service, as it does while the registry is out of reach or names
    no champion.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        load_booster: LoadBooster,
        metrics: ScoringMetrics,
        now: Callable[[], datetime],
        subject: str,
    ) -> None:
        """Follow ``registry``; ``subject`` names for people what is followed."""
        self.served: Served | None = None
        self.refused: Refused | None = None
        self.why_none = f"no model behind {subject} yet"
        self._registry = registry
        self._load_booster = load_booster
        self._metrics = metrics
        self._now = now
        self._subject = subject
        self._is_reachable = True
        self._has_looked = asyncio.Event()

    async def follow(self, poll_seconds: float) -> None:
        """Look for a new champion for ever; no error ends it."""
        while True:
            try:
                await self.look()
            except Exception:
                logger.exception("looking for a champion failed")
            self._has_looked.set()
            await asyncio.sleep(poll_seconds)

    async def warm_up(self, patience_seconds: float) -> None:
        """Wait until ``follow`` has looked once, but not for ever: a service may start without a model."""
        try:
            await asyncio.wait_for(self._has_looked.wait(), patience_seconds)
        except TimeoutError:
            logger.warning("no answer from the registry yet", extra={"fields": {"subject": self._subject}})

    def close(self) -> None:
        """Serve nothing any more."""
        self.served = None
        self.why_none = f"{self._subject} is no longer served"

    async def look(self) -> None:
        """Ask once for the champion, and take over a version that was not tried before."""
        try:
            reference = await self._registry.champion()
            self._is_reachable = True
            if self.refused and reference != self.refused.reference:
                self.refused = None
            current = self.served.reference if self.served else None
            if reference is None or reference == current or self.refused:
                return
            files = await self._registry.fetch(reference)
        except RegistryUnavailable as error:
            self._unreachable(error)
            return
        await self._take_over(reference, files)

    async def _take_over(self, reference: ModelReference, files: Mapping[str, bytes]) -> None:
        started = time.perf_counter()
        try:
            model = await asyncio.to_thread(prove, files, self._load_booster)
        except BundleRefused as error:
            self._refuse(reference, error)
            return
        except Exception as error:
            logger.exception("checking a model failed")
            self._refuse(reference, BundleRefused(Cause.DEFECT, type(error).__name__))
            return
        self.served = Served(reference=reference, model=model, load_time=self._now())
        self._metrics.load_seconds.set(time.perf_counter() - started)
        self._metrics.model_info.clear()
        self._metrics.model_info.labels(reference.name, reference.version).set(1)
        self._log(logging.INFO, "model served", reference)

    def _refuse(self, reference: ModelReference, error: BundleRefused) -> None:
        self.refused = Refused(reference=reference, cause=error.cause, detail=str(error))
        self._metrics.refused.labels(error.cause).inc()
        if self.served is None:
            self.why_none = f"version {reference.version} of {reference.name} was refused: {error}"
        self._log(logging.ERROR, "model refused", reference, cause=error.cause, detail=str(error))

    def _unreachable(self, error: RegistryUnavailable) -> None:
        self._metrics.registry_errors.inc()
        if self.served is None:
            self.why_none = f"the registry of {self._subject} is out of reach"
        if self._is_reachable:
            fields = {"subject": self._subject, "detail": str(error)}
            logger.warning("registry out of reach", extra={"fields": fields})
        self._is_reachable = False

    def _log(self, level: int, message: str, reference: ModelReference, **fields: str) -> None:
        about = {"model_name": reference.name, "model_version": reference.version, **fields}
        logger.log(level, message, extra={"fields": about})
