"""The demo's data agree with the demo's playbook, and with their published figures."""

from __future__ import annotations

import pytest

from services.engine.playbook import values
from services.engine.playbook.loader import load, shipped
from training.data.completejourney import CompleteJourney

PLAYBOOK = load(shipped("retail"))


@pytest.fixture(scope="module")
def data() -> CompleteJourney:
    return CompleteJourney()


def test_the_playbook_describes_every_campaign_as_the_data_do(data: CompleteJourney) -> None:
    described = {
        action_id: {
            "valid": {"from": action.valid.start, "through": action.valid.through},
            "attributes": dict(action.attributes),
        }
        for action_id, action in PLAYBOOK.actions.items()
        if "campaign_type" in action.attributes
    }
    assert described == data.actions()


def test_mailings_and_redemptions_are_as_published(data: CompleteJourney) -> None:
    assert len(data.mailings) == 6_589
    redeemed = data.redemptions[["household_id", "action_id"]].drop_duplicates()
    assert len(redeemed.merge(data.mailings)) == 792
    assert len(data.redemptions) == 2_102


def test_every_profile_and_every_mailing_fits_the_playbook(data: CompleteJourney) -> None:
    households = dict(data.profiles())
    assert len(households) == 2_469
    declared = PLAYBOOK.profile.attributes
    for attributes in households.values():
        for name, value in attributes.items():
            assert values.parse(declared[name], value) == value
    events = PLAYBOOK.events.events
    for event in (*data._mailings(), *data._redemptions()):
        assert event.customer_id in households
        for name, value in event.attributes.items():
            assert values.parse(events[event.type].attributes[name], value) == value


def test_event_ids_are_unique(data: CompleteJourney) -> None:
    ids = [event.event_id for event in (*data._mailings(), *data._redemptions())]
    assert len(set(ids)) == len(ids)
