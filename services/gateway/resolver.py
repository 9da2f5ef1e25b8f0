"""Reads what a decision has to know; what cannot be read becomes a degradation."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from services.gateway.domain.knowledge import Degradation, Features, Profile, Source, Unavailable
from services.gateway.domain.last_good import LastGood
from services.gateway.domain.request import Checked
from services.gateway.domain.timing import READ_SHARE, share
from services.gateway.ports import FeatureReader, LeaseOver, ProfileReader

T = TypeVar("T")
Remaining = Callable[[], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What one decision could learn.

    ``profile`` is None where nobody can tell whom the decision is about; ``stale`` where the
    features are the last good ones. Who is one customer may be acted on until ``valid_until``, by
    ``time.monotonic``.
    """

    profile: Profile | None
    features: Features | None = None
    stale: bool = False
    degradations: tuple[Degradation, ...] = ()
    valid_until: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """Finds out who the customer is and what happened to them; ``now`` is UTC."""

    profiles: ProfileReader
    features: FeatureReader
    last_good: LastGood
    now: Callable[[], datetime]

    async def resolve(self, checked: Checked, action_ids: Sequence[str], remaining: Remaining) -> Known:
        """Read profile and features, at once where the customer's id is given."""
        profile: Profile | Degradation
        features: Features | Degradation | None
        started = time.monotonic()
        customer_id = checked.customer.customer_id
        if customer_id:
            # Before Python 3.13 a TaskGroup whose child fails leaves its task marked as cancelled.
            profile, features = await asyncio.gather(
                self._profile(checked, remaining),
                self._features([customer_id], checked, action_ids, remaining),
            )
        else:
            profile, features = await self._profile(checked, remaining), None
        if isinstance(profile, Profile) and profile.found and profile.members != (customer_id,):
            features = await self._features(profile.members, checked, action_ids, remaining)
        degradations = tuple(read for read in (profile, features) if isinstance(read, Degradation))
        if isinstance(profile, Degradation):
            if not customer_id:
                return Known(profile=None, degradations=degradations)
            # Without a profile there is no consent; the rest of the decision goes on without.
            profile = Profile(customer_id=customer_id, is_read=False)
        if not profile.found:
            # Erased perhaps, and then what happened before is not to be remembered.
            self.last_good.forget([customer_id])
        if not isinstance(features, Degradation):
            # A request for some actions only would leave the others without their features.
            is_whole = not (checked.request.action_ids or checked.request.groups)
            if features is not None and profile.found and is_whole:
                self.last_good.keep(profile.customer_id, features, self.now())
            stale = False
        else:
            features = self.last_good.get(profile.customer_id, checked.decision_time)
            stale = features is not None
        return Known(
            profile=profile,
            features=features,
            stale=stale,
            degradations=degradations,
            valid_until=started + profile.lease,
        )

    async def within_lease(
        self, write: Callable[[float], Awaitable[T]], checked: Checked, known: Known, remaining: Remaining
    ) -> T:
        """Write what rests on who is one customer; ``write`` is told until when that may be acted on.

        Where reading and deciding took longer, it is asked again first. A dry run may rest on who was one,
        but not on who was erased meanwhile.

        Raises:
            LeaseOver: who is one has changed, or cannot be told.
        """
        until = known.valid_until
        while True:
            try:
                return await write(until)
            except LeaseOver:
                started = time.monotonic()
                profile = await self._profile(checked, remaining)
                if isinstance(profile, Degradation) or known.profile is None:
                    raise
                is_same = _who(profile) == _who(known.profile)
                if not (is_same or (profile.found and not checked.request.live)):
                    raise
                until = started + profile.lease

    async def _profile(self, checked: Checked, remaining: Remaining) -> Profile | Degradation:
        as_of = None if checked.request.live else checked.decision_time
        try:
            return await self.profiles.read(checked.customer, as_of, share(remaining(), READ_SHARE))
        except Unavailable as error:
            return error.of(Source.PROFILE)

    async def _features(
        self, members: Sequence[str], checked: Checked, action_ids: Sequence[str], remaining: Remaining
    ) -> Features | Degradation:
        least, timeout = checked.request.min_sequence, share(remaining(), READ_SHARE)
        try:
            return await self.features.read(members, checked.decision_time, action_ids, least, timeout)
        except Unavailable as error:
            return error.of(Source.FEATURES)


def _who(profile: Profile) -> tuple[tuple[str, ...], int]:
    return profile.members, profile.identity_version
