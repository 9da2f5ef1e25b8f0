"""Where windows begin: calendars of zones whose midnights are skipped, repeated or moved."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.engine.instants import zone
from services.engine.policy.periods import longest, start_of
from tests.unit.engine.policy.slow_contacts import first_day, first_moment

CHANGES = {
    "America/Sao_Paulo": ["2018-11-04", "2018-02-18"],
    "Asia/Beirut": ["2021-03-28", "2021-10-31"],
    "Pacific/Apia": ["2011-12-30", "2011-12-31", "2012-01-01"],
    "Pacific/Kwajalein": ["1993-08-21"],
    "America/St_Johns": ["1990-10-28", "1990-04-01"],
    "America/Havana": ["2024-03-10", "2024-11-03"],
    "Asia/Gaza": ["2012-03-30", "2015-10-24"],
    "Europe/Berlin": ["2025-03-30", "2025-10-26"],
    "America/Scoresbysund": ["2024-03-31", "2025-03-30"],
    "Asia/Kathmandu": ["1986-01-01"],
    "Antarctica/Troll": ["2024-10-27"],
    "UTC": ["2024-02-29"],
}
PLACES = st.sampled_from([(name, day) for name, days in CHANGES.items() for day in days])


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


@settings(max_examples=300)
@given(
    st.lists(PLACES, min_size=1, max_size=3),
    st.sampled_from(["day", "week", "month"]),
    st.integers(-4 * 86_400, 4 * 86_400),
)
def test_a_calendar_window_begins_at_the_earliest_first_moment_of_its_first_day(places, period, seconds):
    now = datetime.fromisoformat(places[0][1]).replace(tzinfo=UTC) + timedelta(seconds=seconds)
    names = [name for name, _ in places]
    start = start_of(period, now, tuple(map(zone, names)))
    assert start == min(first_moment(first_day(period, now, name), name) for name in names)
    assert now - longest(period) <= start <= now


@pytest.mark.parametrize(
    ("name", "now", "period", "start"),
    [
        # Midnight was skipped: the day began at one.
        ("America/Sao_Paulo", "2018-11-04T12:00:00-02:00", "day", "2018-11-04T01:00:00-02:00"),
        # Clocks went from midnight back to eleven: the day before took 25 hours.
        ("America/Sao_Paulo", "2018-02-17T23:30:00-03:00", "day", "2018-02-17T00:00:00-02:00"),
        ("Asia/Beirut", "2021-03-28T12:00:00+03:00", "day", "2021-03-28T01:00:00+03:00"),
        # There was no Friday.
        ("Pacific/Apia", "2011-12-31T12:00:00+14:00", "day", "2011-12-31T00:00:00+14:00"),
        ("Pacific/Apia", "2011-12-31T12:00:00+14:00", "week", "2011-12-26T00:00:00-10:00"),
        # Of two midnights, the first.
        ("America/Havana", "2024-11-03T00:30:00-05:00", "day", "2024-11-03T00:00:00-04:00"),
        ("Europe/Berlin", "2025-06-04T12:00:00+02:00", "week", "2025-06-02T00:00:00+02:00"),
        ("Europe/Berlin", "2025-06-02T00:00:00+02:00", "week", "2025-06-02T00:00:00+02:00"),
        ("Europe/Berlin", "2025-06-01T23:59:59.999999+02:00", "week", "2025-05-26T00:00:00+02:00"),
        ("Europe/Berlin", "2025-11-15T12:00:00+01:00", "month", "2025-11-01T00:00:00+01:00"),
        ("Europe/Berlin", "2025-10-31T12:00:00+01:00", "month", "2025-10-01T00:00:00+02:00"),
    ],
)
def test_calendar_windows_begin_where_people_would_say(name, now, period, start):
    assert start_of(period, at(now), (zone(name),)) == at(start)


def test_of_several_zones_the_window_begins_where_it_began_first():
    zones = (zone("America/New_York"), zone("America/Los_Angeles"))
    assert start_of("day", at("2025-06-04T12:00:00Z"), zones) == at("2025-06-04T00:00:00-04:00")
    # It is still the day before in the west.
    assert start_of("day", at("2025-06-04T05:00:00Z"), zones) == at("2025-06-03T00:00:00-07:00")


@given(st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)), st.integers(1, 400 * 86_400))
@example(datetime(2025, 3, 30, 12), 86_400)
def test_a_length_reaches_back_by_that_much_whatever_clocks_did(naive, seconds):
    now, length = naive.replace(tzinfo=UTC), timedelta(seconds=seconds)
    assert now - start_of(length, now, (zone("Europe/Berlin"),)) == length == longest(length)
