from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.instants import zone
from services.engine.policy.engagement import Removal
from services.engine.policy.zones import zones_of_country
from tests.unit.engine.policy.placing import placed, preferred_hours, quiet_hours
from tests.unit.engine.policy.slow_place import slow_earliest

BERLIN, LORD_HOWE, APIA = "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"


def local(text, name, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=zone(name), fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "quiet", "name", "end"),
    [
        ("2025-03-29 23:00", ("22:00", "08:00"), BERLIN, "2025-03-30 08:00"),
        ("2025-10-25 23:00", ("22:00", "08:00"), BERLIN, "2025-10-26 08:00"),
        ("2025-10-04 23:00", ("22:00", "08:00"), LORD_HOWE, "2025-10-05 08:00"),
        ("2025-04-05 23:00", ("22:00", "08:00"), LORD_HOWE, "2025-04-06 08:00"),
        ("2025-06-01 23:00", ("22:00", "08:00"), "Asia/Kathmandu", "2025-06-02 08:00"),
        # 30 December 2011 was left out.
        ("2011-12-29 23:00", ("22:00", "08:00"), APIA, "2011-12-31 08:00"),
        # An end that is skipped: the first moment that is not.
        ("2025-03-29 23:00", ("22:00", "02:30"), BERLIN, "2025-03-30 03:00"),
        ("2025-10-04 23:00", ("22:00", "02:15"), LORD_HOWE, "2025-10-05 02:30"),
        # Hours that are skipped altogether are not quiet.
        ("2025-03-30 01:59", ("02:00", "03:00"), BERLIN, "2025-03-30 01:59"),
    ],
)
def test_quiet_hours_end_by_the_clock_on_the_wall(now, quiet, name, end):
    found = placed(local(now, name), zones=(name,), quiet=[quiet_hours(*quiet)])
    assert found.not_before == local(end, name)


@pytest.mark.parametrize(
    ("fold", "minute", "end"),
    [
        (0, 15, (0, 30)),
        (0, 30, (0, 30)),
        (0, 59, (0, 59)),
        (1, 0, (1, 30)),
        (1, 15, (1, 30)),
        (1, 30, (1, 30)),
    ],
)
def test_hours_that_are_repeated_are_quiet_twice(fold, minute, end):
    now = local(f"2025-10-26 02:{minute:02}", BERLIN, fold)
    found = placed(now, zones=(BERLIN,), quiet=[quiet_hours("22:00", "02:30")])
    assert found.not_before == local(f"2025-10-26 02:{end[1]:02}", BERLIN, end[0])


def test_preferred_hours_that_are_skipped_come_the_day_after():
    hours = [preferred_hours("02:15", "02:45")]
    assert placed(local("2025-03-29 03:00", BERLIN), zones=(BERLIN,), preferred=hours).not_before == local(
        "2025-03-31 02:15", BERLIN
    )


def test_hours_of_a_device_that_are_repeated_start_twice():
    listed = {"desktop": ("02:15", "02:45"), "phone": None}
    first, second = (local("2025-10-26 02:15", BERLIN, fold) for fold in (0, 1))
    for now, start in ((first - timedelta(hours=1), first), (first, second)):
        assert placed(now, zones=(BERLIN,), fits=["desktop"], listed=listed).not_before == start


def keys_of(country):
    return tuple(each.key for each in zones_of_country(country))


def test_where_only_the_country_is_known_night_ends_last_in_its_last_zone():
    now, quiet = local("2025-03-08 22:00", "America/New_York"), [quiet_hours("21:00", "08:00")]
    found = placed(now, zones=keys_of("US"), quiet=quiet)
    assert found.not_before == local("2025-03-09 08:00", "Pacific/Honolulu")


def test_a_common_hour_that_a_clock_change_brings_is_found_a_week_ahead_and_no_more():
    zones, new_york = ("America/New_York", "America/Phoenix"), "America/New_York"
    quiet = [quiet_hours("10:00", "12:00", "morning"), quiet_hours("13:00", "09:00")]
    week_before, month_before = (local(day, new_york) for day in ("2025-03-02 12:00", "2025-02-09 12:00"))
    found = placed(week_before, zones=zones, quiet=quiet)
    assert found.not_before == local("2025-03-09 12:00", new_york)
    assert placed(month_before, zones=zones, quiet=quiet).rule == "no_hour"


CHANGES = {
    (BERLIN,): (local("2025-03-30 01:00", BERLIN), local("2025-10-26 01:00", BERLIN)),
    (BERLIN, "Europe/London"): (local("2025-03-30 01:00", BERLIN), local("2025-10-26 01:00", BERLIN)),
    (LORD_HOWE,): (local("2025-10-05 01:00", LORD_HOWE), local("2025-04-06 01:00", LORD_HOWE)),
    ("Pacific/Chatham",): (local("2025-09-28 01:00", "Pacific/Chatham"),),
    ("Africa/Casablanca",): (local("2025-02-23 02:00", "Africa/Casablanca"),),
    ("Asia/Kathmandu",): (local("2025-06-01 00:00", "Asia/Kathmandu"),),
    (APIA, "Pacific/Pago_Pago"): (local("2011-12-29 23:00", APIA),),
    ("America/St_Johns", "America/New_York", "America/Phoenix"): (
        local("2025-03-09 01:00", "America/New_York"),
        local("2025-11-02 01:00", "America/St_Johns"),
    ),
    keys_of("AU"): (local("2025-10-05 01:00", LORD_HOWE), local("2025-04-06 01:00", LORD_HOWE)),
    keys_of("KZ"): (local("2024-03-01 00:00", "Asia/Almaty"),),
}
MOMENTS = st.sampled_from([(names, change) for names, changes in CHANGES.items() for change in changes])
SHIFTS = st.builds(
    lambda minutes, seconds, micros: timedelta(minutes=minutes, seconds=seconds, microseconds=micros),
    st.integers(-36 * 60, 12 * 60),
    st.sampled_from([0, 0, 59]),
    st.sampled_from([0, 0, 1, 999_999]),
)
HOURS = st.integers(1, 23).map(lambda hour: hour * 60)
SPANS = st.builds(
    lambda start, length: (start, (start + length) % (24 * 60)),
    HOURS | st.integers(0, 240) | st.integers(0, 24 * 60 - 1),
    HOURS | st.integers(1, 24 * 60 - 1),
)
QUIET = st.lists(SPANS, max_size=3).map(
    lambda spans: [quiet_hours(*span, f"quiet_{number}") for number, span in enumerate(spans)]
)
PREFERRED = st.lists(SPANS, max_size=2).map(
    lambda spans: [preferred_hours(*span, f"preferred_{number}") for number, span in enumerate(spans)]
)
EXPIRIES = st.none() | st.integers(1, 48 * 60).map(lambda minutes: f"{minutes}m")


def slow_place(now, zones, quiet, preferred, device, expires):
    """Return the moment that the clocks on the wall tell, or the name of the removal."""
    device = device and quiet_hours(*device)
    hard = slow_earliest(now, zones, quiet, device)
    if hard is None:
        return "no_hour"
    soft = slow_earliest(now, zones, quiet, device, preferred)
    in_time = [at for at in (soft, hard) if at is not None and (expires is None or at < expires)]
    return in_time[0] if in_time else "expires_first"


@settings(max_examples=120, deadline=None)
@given(MOMENTS, SHIFTS, QUIET, PREFERRED, st.none() | SPANS, EXPIRIES)
def test_the_earliest_allowed_time_is_what_the_clocks_on_the_wall_tell(
    moment, shift, quiet, preferred, device, expires_after
):
    names, now = moment[0], moment[1] + shift
    in_hand = "phone" if device else "desktop"
    asked = {"zones": names, "fits": ["desktop"], "listed": {"desktop": device}, "in_hand": in_hand}
    asked["action"] = {"expires_after": expires_after}
    found = placed(now, quiet=quiet, preferred=preferred, **asked)
    expires = None if expires_after is None else now + timedelta(minutes=int(expires_after[:-1]))
    expected = slow_place(now, [zone(name) for name in names], quiet, preferred, device, expires)
    assert (found.rule if isinstance(found, Removal) else found.not_before) == expected
    if isinstance(found, Removal):
        return
    assert bool(found.moved_by) == (found.not_before > now)
    assert ("device" in found.moved_by) == (device is not None)
    met, liked = ([rule for rule in rules if rule.name in found.moved_by] for rules in (quiet, preferred))
    alone = placed(now, quiet=met, preferred=liked, **asked)
    assert alone.not_before == found.not_before
