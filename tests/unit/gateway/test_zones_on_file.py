"""Where a customer is, is told by what is kept of them; what is borrowed or displayed decides nothing."""

import asyncio
import random

import bazaar
import pytest
from tact.decision.v1 import decision_service_pb2 as pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from playbooks import load_playbook
from services.engine.features.feature_set import FeatureSet
from services.gateway.domain.knowledge import Profile
from services.gateway.domain.making import Edition

ANNA = "anna"


def told(folder, name, value, **declared):
    """Decide for one customer with one attribute; return the zone and what told it."""
    book = load_playbook(folder, ("profile", "attributes", name, {"type": "string", **declared}))
    shop = bazaar.shop(random.Random(1))
    shop.edition = Edition(book, FeatureSet(book))
    shop.profiles.profiles = {ANNA: Profile(customer_id=ANNA, attributes={name: value})}
    shop.features.customer = dict.fromkeys(shop.edition.feature_set.customer_names, 1.0)
    shop.restart()
    customer = profile_pb.CustomerKey(customer_id=ANNA)
    answer = asyncio.run(shop.deciding(pb.DecideRequest(customer=customer, include_explanation=True)))
    return answer.explanation.time_zone, answer.explanation.time_zone_source


@pytest.mark.parametrize("declared", [{}, {"provenance": "copied"}], ids=str)
def test_what_is_kept_tells_the_zone(tmp_path, declared):
    assert told(tmp_path, "time_zone", "Asia/Tokyo", **declared) == ("Asia/Tokyo", "profile")
    assert told(tmp_path, "country", "NP", **declared) == ("Asia/Kathmandu", "country")


@pytest.mark.parametrize(
    "declared", [{"provenance": "borrowed", "max_age": "1d"}, {"provenance": "displayed"}], ids=str
)
def test_what_is_borrowed_or_displayed_tells_no_zone(tmp_path, declared):
    assert told(tmp_path, "time_zone", "Asia/Tokyo", **declared) == ("Europe/Berlin", "playbook")
    assert told(tmp_path, "country", "NP", **declared) == ("Europe/Berlin", "playbook")
