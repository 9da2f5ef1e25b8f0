"""When actions are live, and when their outcomes close."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.instants import zone
from services.engine.playbook.playbook import validity_of
from services.engine.playbook.rules import Varies
from services.engine.playbook.schema.catalogue import Action
from tests.playbooks import load_playbook

SALE = ("actions", "actions", "sale")
MICROSECOND = timedelta(microseconds=1)


def action(start=None, through=None):
    days = {key: value.isoformat() for key, value in (("from", start), ("through", through)) if value}
    treatments = {"mail": {"channel": "email", "content": {"headline": "x"}}}
    return Action.model_validate(
        {"group": "g", "purpose": "p", "value": 1, "valid": days, "treatments": treatments}
    )


@pytest.mark.parametrize(
    ("name", "day", "start", "hours"),
    [
        ("UTC", date(2025, 3, 30), "2025-03-30T00:00", 24),
        ("Europe/Berlin", date(2025, 3, 30), "2025-03-29T23:00", 23),
        ("Europe/Berlin", date(2025, 10, 26), "2025-10-25T22:00", 25),
        # The clock goes from 00:00 to 01:00: the day has no midnight and begins at 01:00.
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00", 23),
        # The clock goes from 01:00 back to 00:00: the first midnight counts.
        ("America/Havana", date(2025, 11, 2), "2025-11-02T04:00", 25),
        # Half an hour is enough.
        ("Australia/Lord_Howe", date(2025, 4, 6), "2025-04-05T13:00", 24.5),
    ],
)
def test_days_begin_and_end_at_local_midnight(name, day, start, hours):
    first, end = validity_of(action(day, day), zone(name))
    assert first == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert end - first == timedelta(hours=hours)


def test_a_day_that_a_zone_skipped_is_empty():
    first, end = validity_of(action(date(2011, 12, 30), date(2011, 12, 30)), zone("Pacific/Apia"))
    assert first == end == datetime(2011, 12, 30, 10, tzinfo=UTC)


def test_an_open_validity_has_no_ends():
    assert validity_of(action(), zone("UTC")) == (None, None)


ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "America/Asuncion",
    "Pacific/Apia",
    "Asia/Gaza",
)


@settings(max_examples=200)
@given(st.sampled_from(ZONES), st.dates(date(1970, 1, 2), date(2050, 1, 1)))
def test_a_day_begins_at_its_first_moment(name, day):
    start, _ = validity_of(action(day), zone(name))
    assert start.astimezone(zone(name)).date() >= day
    assert (start - MICROSECOND).astimezone(zone(name)).date() < day


@settings(max_examples=100)
@given(st.sampled_from(ZONES), st.dates(date(1970, 1, 2), date(2050, 1, 1)), st.integers(0, 400))
def test_what_ends_one_day_and_begins_the_next_leaves_no_gap(name, day, length):
    later = day + timedelta(days=length)
    _, end = validity_of(action(day, later), zone(name))
    start, _ = validity_of(action(later + timedelta(days=1)), zone(name))
    assert end == start


def test_an_action_is_live_from_its_first_moment_to_before_its_end(shop):
    start, end = shop.validity["sale"]
    assert start == datetime(2025, 2, 28, 23, tzinfo=UTC)
    assert end == datetime(2025, 3, 31, 22, tzinfo=UTC)
    moments = [start - MICROSECOND, start, end - MICROSECOND, end]
    assert [shop.is_live("sale", moment) for moment in moments] == [False, True, True, False]
    assert shop.is_live("recall", datetime(1990, 1, 1, tzinfo=UTC))


def test_an_outcome_closes_after_its_window_or_with_the_validity(tmp_path, shop):
    exposure = datetime(2025, 3, 3, 12, tzinfo=UTC)
    assert shop.outcome_end("sale", exposure) == exposure + timedelta(days=7)
    assert shop.outcome_end("recall", exposure) is None
    playbook = load_playbook(tmp_path, ("actions", "groups", "offers", "outcome", "within", "validity"))
    assert playbook.outcome_end("sale", exposure) == playbook.validity["sale"][1]


def test_treatments_come_in_the_order_of_declaration(shop):
    assert [(action_id, treatment_id) for action_id, _, treatment_id, _ in shop.treatments()] == [
        ("sale", "mail"),
        ("sale", "note"),
        ("recall", "mail"),
    ]


def test_units_follow_the_scale(shop):
    assert (shop.units("order", "amount"), shop.units("order", "items")) == (100, 1)


def test_a_playbook_knows_what_its_rules_read(shop):
    own = {"feature.clicks_of_offer", "action.class"}
    assert shop.variables_of(Varies.BY_DECISION) == (own, {"profile.age"})
    assert shop.variables_of(Varies.BY_ACTION) == (own, set())
