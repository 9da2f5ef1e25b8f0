from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.instants import instant, microseconds, time_zone, zone

MOMENTS = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))


@given(MOMENTS)
def test_microseconds_and_instants_are_inverse_to_the_microsecond(moment):
    assert instant(microseconds(moment)) == moment


@given(MOMENTS, st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=9000)))
def test_microseconds_keep_distances(moment, length):
    assert microseconds(moment + length) - microseconds(moment) == length // timedelta(microseconds=1)


def test_a_moment_counts_the_same_in_every_zone():
    moment = datetime(2025, 7, 1, 12, tzinfo=UTC)
    assert microseconds(moment.astimezone(zone("Asia/Kathmandu"))) == microseconds(moment)


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(TypeError):
        microseconds(datetime(2025, 7, 1, 12))


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+3"])
def test_iana_names_are_time_zones(name):
    assert time_zone(name).key == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/", "Europe", "Europe/", "Europe/Berln", "europe/berlin ", "a\0b", "x" * 5_000),
        *("/etc/passwd", "../../etc/passwd", "Europe/../UTC", "zone.tab", "__init__.py", "Zürich", "\ud800"),
        # A host may have these; their meaning depends on the host or counts leap seconds.
        *("localtime", "posixrules", "posix/Europe/Berlin", "right/UTC"),
    ],
)
def test_other_names_are_no_time_zones(name):
    assert time_zone(name) is None
    with pytest.raises(ValueError, match="time zone"):
        zone(name)


@given(st.text(max_size=40))
def test_no_name_breaks_the_look_up(name):
    found = time_zone(name)
    assert found is None or found.key == name


def test_clock_changes_are_known():
    berlin = zone("Europe/Berlin")
    midnights = [datetime(2025, month, day, tzinfo=berlin) for month, day in ((3, 30), (3, 31))]
    assert microseconds(midnights[1]) - microseconds(midnights[0]) == 23 * 3_600 * 1_000_000
    assert datetime(2025, 10, 26, 12, tzinfo=berlin).utcoffset() == timedelta(hours=1)
