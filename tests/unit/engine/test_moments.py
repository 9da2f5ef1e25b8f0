from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.instants import instant, microseconds
from services.engine.moments import LATEST, MOST_AHEAD, Moment, as_of, exact, past

NOW = microseconds(datetime(2025, 6, 1, tzinfo=UTC))


def moment(micros, finer=0):
    return Moment(micros // 1_000_000, micros % 1_000_000 * 1_000 + finer)


@given(st.integers(0, LATEST))
def test_a_moment_in_whole_microseconds_is_kept(micros):
    assert exact(moment(micros)) == as_of(moment(micros)) == micros


@given(st.integers(0, LATEST), st.integers(1, 999))
def test_what_is_finer_is_refused_where_it_is_kept_and_cut_where_it_is_read(micros, finer):
    with pytest.raises(ValueError, match="whole microseconds"):
        exact(moment(micros, finer))
    assert as_of(moment(micros, finer)) == micros


@pytest.mark.parametrize("check", [exact, as_of, lambda one: past(one, NOW)])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Moment(-1, 0), "before 1970"),
        (Moment(0, -1), "nanos"),
        (Moment(0, 1_000_000_000), "nanos"),
        (Moment(253_402_300_800, 0), "year 9999"),
        (Moment(2**62, 0), "year 9999"),
        (Moment(-(2**62), 0), "before 1970"),
    ],
)
def test_absurd_moments_are_refused(check, wrong, message):
    with pytest.raises(ValueError, match=message):
        check(wrong)


def test_the_last_moment_is_still_an_instant():
    assert instant(exact(Moment(253_402_300_799, 999_999_000))).year == 9999


def test_what_happened_may_lie_five_minutes_ahead_and_no_more():
    assert past(moment(NOW + MOST_AHEAD), NOW) == NOW + MOST_AHEAD
    with pytest.raises(ValueError, match="five minutes ahead"):
        past(moment(NOW + MOST_AHEAD + 1), NOW)
    assert timedelta(microseconds=MOST_AHEAD) == timedelta(minutes=5)


def test_nothing_is_read_as_of_a_time_after_2100():
    assert instant(LATEST) == datetime(2100, 1, 1, tzinfo=UTC)
    assert as_of(moment(LATEST)) == LATEST
    with pytest.raises(ValueError, match="2100"):
        as_of(moment(LATEST + 1))
