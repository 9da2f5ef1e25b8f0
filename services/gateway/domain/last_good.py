"""The last features read of each customer, for the time when they cannot be read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta

from services.gateway.domain.knowledge import Features
from services.gateway.domain.request import LIVE_TOLERANCE


class LastGood:
    """A bounded memory; what was read longest ago goes first.

    Features as of a later time than the decision are never given: they would tell the future.
    Staleness is bounded by ``longest``. A bound on memory is ``capacity`` customers.
    """

    def __init__(self, capacity: int, longest: timedelta) -> None:
        self._capacity = capacity
        self._longest = longest
        self._features: OrderedDict[str, Features] = OrderedDict()

    def keep(self, customer_id: str, features: Features, now: datetime) -> None:
        """Remember features, unless newer ones are remembered.

        A dry run may ask for a time to come; what it reads would stand in the way of what is read
        until then, and is not kept.
        """
        latest = now + LIVE_TOLERANCE
        if features.as_of > latest:
            return
        known = self._features.get(customer_id)
        # What is of the future was kept before the clock went back.
        if known is None or known.as_of <= features.as_of or known.as_of > latest:
            self._features[customer_id] = features
        self._features.move_to_end(customer_id)
        if len(self._features) > self._capacity:
            self._features.popitem(last=False)

    def forget(self, customer_ids: Iterable[str]) -> None:
        """Remember nothing of customers any more."""
        for customer_id in customer_ids:
            self._features.pop(customer_id, None)

    def get(self, customer_id: str, decision_time: datetime) -> Features | None:
        """Return what is remembered, if it is neither too old nor of the future."""
        features = self._features.get(customer_id)
        if features is None or not timedelta() <= decision_time - features.as_of <= self._longest:
            return None
        return features
