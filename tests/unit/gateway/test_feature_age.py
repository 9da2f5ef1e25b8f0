import math
from datetime import timedelta

import pytest
from deciding import ANNA, DOWN, Shop, served_by
from prometheus_client import CollectorRegistry

from services.gateway.fakes import InMemoryFeatures
from services.gateway.metrics import GatewayMetrics

NEWEST_AT_READ = 60.0


def observed(shop):
    """Show what the metric makes of every decision of a shop: their number, and the sum of ages."""
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    for decision, logging in shop.decided:
        metrics.decided(decision, logging)
    return tuple(
        registry.get_sample_value(f"tact_decision_feature_age_seconds_{part}") for part in ("count", "sum")
    )


def test_the_age_is_that_of_the_newest_event():
    shop = Shop(features=InMemoryFeatures(customer={"spend_30d": 1.0, "purchases_30d": 1.0}))
    shop.decide()
    assert observed(shop) == (1, NEWEST_AT_READ)


def test_last_good_features_age_while_they_stand_in():
    shop = Shop()
    shop.decide()
    shop.now += timedelta(hours=2)
    shop.features.failure = DOWN
    assert served_by(shop.decide()) == "LAST_GOOD_FEATURES"
    assert observed(shop) == (2, NEWEST_AT_READ + (NEWEST_AT_READ + 7_200))


@pytest.mark.parametrize("customer", [{}, {"spend_30d": math.nan}])
def test_who_has_no_events_has_no_age(customer):
    class Eventless(InMemoryFeatures):
        async def read(self, *asked):
            read = await super().read(*asked)
            read.ages.update(dict.fromkeys(read.ages, math.nan))
            return read

    shop = Shop(features=Eventless(customer=customer))
    shop.decide()
    assert observed(shop) == (0, 0)


def test_decisions_without_features_have_no_age():
    shop = Shop()
    shop.features.failure = DOWN
    shop.decide()
    shop.decide(customer_id=f"not {ANNA}")
    assert observed(shop) == (0, 0)
