from datetime import UTC, datetime, timedelta

import pytest

from services.engine.policy.engagement import Removal
from tests.unit.engine.policy.placing import NOW, placed, preferred_hours, quiet_hours

NIGHT = quiet_hours("21:00", "08:00")
EVENING = preferred_hours("18:00", "20:00")
MICROSECOND = timedelta(microseconds=1)


def june(day, hour, minute=0):
    return datetime(2025, 6, day, hour, minute, tzinfo=UTC)


def when(found):
    assert not isinstance(found, Removal), found
    return found.not_before, found.moved_by


def removed(found):
    assert isinstance(found, Removal), found
    assert found.stage == "place"
    return found.rule


def test_what_nothing_binds_arrives_now_to_the_microsecond():
    assert when(placed()) == (NOW, ())


def test_quiet_hours_move_it_to_their_end_and_drop_nothing():
    assert when(placed(june(3, 23), quiet=[NIGHT])) == (june(4, 8), ("night",))
    assert when(placed(june(4, 8) - MICROSECOND, quiet=[NIGHT])) == (june(4, 8), ("night",))


@pytest.mark.parametrize("now", [june(3, 8), june(3, 12), june(3, 21) - MICROSECOND])
def test_outside_quiet_hours_it_arrives_now(now):
    assert when(placed(now, quiet=[NIGHT])) == (now, ())


def test_only_the_quiet_hours_met_on_the_way_are_named_in_their_order():
    quiet = [
        quiet_hours("07:30", "09:00", "breakfast"),
        quiet_hours("02:00", "03:00", "backup"),
        quiet_hours("12:00", "13:00", "lunch"),
        NIGHT,
    ]
    assert when(placed(june(3, 23), quiet=quiet)) == (june(4, 9), ("night", "breakfast"))


def test_hours_that_leave_none_open_remove_it_and_say_why():
    found = placed(quiet=[NIGHT, quiet_hours("08:00", "21:00", "day")])
    assert removed(found) == "no_hour"
    assert found.text == "No hour of the coming 8 days is allowed. The night is quiet. The day is quiet."


def test_one_open_minute_a_day_is_found():
    assert when(placed(june(3, 12, 1), quiet=[quiet_hours("12:01", "12:00")])) == (june(4, 12), ("night",))


@pytest.mark.parametrize(
    "ends",
    [
        {"validity_end": june(4, 8)},
        {"action": {"expires_after": "9h"}},
        {"action": {"expires_after": "9h"}, "validity_end": june(9, 0)},
        {"action": {"expires_after": "9d"}, "validity_end": june(4, 8)},
    ],
)
def test_what_would_expire_first_is_removed_and_the_hours_in_its_way_are_told(ends):
    found = placed(june(3, 23), quiet=[NIGHT, quiet_hours("12:00", "13:00", "lunch")], **ends)
    assert removed(found) == "expires_first"
    assert found.text == "It would expire before it may arrive. The night is quiet."


def test_what_expires_a_moment_later_is_moved():
    last = june(4, 8) + MICROSECOND
    found = placed(june(3, 23), quiet=[NIGHT], validity_end=last)
    assert when(found) == (june(4, 8), ("night",))
    assert found.expires == last


def test_what_has_expired_is_removed_though_nothing_binds_it():
    assert removed(placed(validity_end=NOW)) == "expires_first"


@pytest.mark.parametrize(
    ("action", "validity_end", "expires"),
    [
        ({}, None, None),
        ({}, june(9, 0), june(9, 0)),
        ({"expires_after": "2d"}, None, NOW + timedelta(days=2)),
        ({"expires_after": "2d"}, june(9, 0), NOW + timedelta(days=2)),
        ({"expires_after": "20d"}, june(9, 0), june(9, 0)),
    ],
)
def test_it_expires_after_its_time_or_with_its_validity(action, validity_end, expires):
    assert placed(action=action, validity_end=validity_end).expires == expires


def test_any_hour_means_any_hour():
    action = {"class": "transactional", "any_hour": True}
    assert when(placed(june(3, 23), action=action, quiet=[NIGHT], preferred=[EVENING])) == (june(3, 23), ())
    closed = [NIGHT, quiet_hours("08:00", "21:00", "day")]
    assert when(placed(june(3, 23), action=action, quiet=closed)) == (june(3, 23), ())


def test_without_any_hour_mandatory_actions_keep_quiet_hours():
    assert when(placed(june(3, 23), action={"class": "mandatory"}, quiet=[NIGHT])) == (june(4, 8), ("night",))


def test_preferred_hours_move_it_into_them():
    assert when(placed(preferred=[EVENING])) == (june(3, 18), ("evening",))
    assert when(placed(june(3, 18), preferred=[EVENING])) == (june(3, 18), ())


def test_of_several_preferred_hours_any_will_do_and_those_it_ends_in_are_named():
    breakfast, brunch = (
        preferred_hours("08:00", "09:00", "breakfast"),
        preferred_hours("07:00", "09:30", "brunch"),
    )
    hours = [EVENING, breakfast, brunch]
    assert when(placed(preferred=hours)) == (june(3, 18), ("evening",))
    assert when(placed(june(3, 22), quiet=[NIGHT], preferred=hours)) == (june(4, 8), ("night",))
    assert when(placed(june(3, 22), preferred=[breakfast, brunch])) == (june(4, 7), ("brunch",))


def test_preferred_hours_that_are_quiet_wait_for_those_that_are_not():
    late = preferred_hours("20:30", "22:00", "late")
    assert when(placed(june(3, 21, 30), quiet=[NIGHT], preferred=[late])) == (
        june(4, 20, 30),
        ("night", "late"),
    )


@pytest.mark.parametrize(
    ("expires_after", "expected"), [("6h", (june(3, 12), ())), ("7h", (june(3, 18), ("evening",)))]
)
def test_preferred_hours_bind_only_where_they_leave_time(expires_after, expected):
    found = placed(june(3, 12), action={"expires_after": expires_after}, preferred=[EVENING])
    assert when(found) == expected


def test_preferred_hours_out_of_reach_leave_quiet_hours_in_force():
    late = preferred_hours("22:00", "23:00", "late")
    assert when(placed(june(3, 23), quiet=[NIGHT], preferred=[late])) == (june(4, 8), ("night",))
    hasty = {"expires_after": "10h"}
    assert when(placed(june(3, 23), action=hasty, quiet=[NIGHT], preferred=[EVENING])) == (
        june(4, 8),
        ("night",),
    )


def test_an_hour_must_be_allowed_in_every_zone():
    coasts = ("America/New_York", "America/Los_Angeles")
    assert when(placed(june(3, 12), zones=coasts, quiet=[NIGHT])) == (june(3, 15), ("night",))
    assert when(placed(june(4, 1), zones=coasts, quiet=[NIGHT])) == (june(4, 15), ("night",))
    assert when(placed(june(3, 15), zones=coasts, quiet=[NIGHT])) == (june(3, 15), ())


def test_zones_without_a_common_hour_remove_it_but_only_for_what_binds():
    ends = ("Europe/Kaliningrad", "Asia/Anadyr")
    office = quiet_hours("17:00", "09:00", "evening")
    assert removed(placed(zones=ends, quiet=[office])) == "no_hour"
    assert when(placed(zones=ends, preferred=[preferred_hours("09:00", "17:00")])) == (NOW, ())


def test_advice_for_an_actor_needs_one():
    found = placed(recipient="actor")
    assert removed(found) == "no_actor"
    assert when(placed(recipient="actor", has_actor=True)) == (NOW, ())


@pytest.mark.parametrize(
    ("in_hand", "context_channel", "recipient", "device"),
    [
        ("phone", "sms", "customer", "phone"),
        ("phone", "web", "customer", ""),
        ("phone", "", "customer", ""),
        ("", "sms", "customer", ""),
        ("phone", "web", "actor", "phone"),
        ("fridge", "sms", "customer", "fridge"),
    ],
)
def test_what_fits_any_device_arrives_on_the_one_in_hand_if_it_is_there(
    in_hand, context_channel, recipient, device
):
    found = placed(in_hand=in_hand, context_channel=context_channel, recipient=recipient, has_actor=True)
    assert (found.device, found.moved_by) == (device, ())


@pytest.mark.parametrize(
    ("fits", "in_hand", "device"),
    [
        (["desktop", "phone"], "phone", "phone"),
        (["desktop", "phone"], "", "desktop"),
        (["phone", "desktop"], "", "phone"),
    ],
)
def test_a_device_that_fits_or_is_unknown_moves_nothing(fits, in_hand, device):
    found = placed(fits=fits, in_hand=in_hand)
    assert (found.device, *when(found)) == (device, NOW, ())


@pytest.mark.parametrize(
    ("fits", "device", "start"),
    [
        (["desktop"], "desktop", june(4, 9)),
        (["tablet", "desktop"], "tablet", june(3, 20)),
        (["watch", "desktop", "tablet"], "desktop", june(4, 9)),
    ],
)
def test_what_does_not_fit_waits_for_the_first_fitting_device_with_hours(fits, device, start):
    listed = {"desktop": ("09:00", "17:00"), "tablet": ("20:00", "22:00"), "watch": None}
    found = placed(fits=fits, listed=listed)
    assert (found.device, *when(found)) == (device, start, ("device",))


@pytest.mark.parametrize(
    ("now", "start"),
    [
        (june(3, 9) - MICROSECOND, june(3, 9)),
        (june(3, 9), june(4, 9)),
        (june(3, 12), june(4, 9)),
        (june(3, 17), june(4, 9)),
    ],
)
def test_it_waits_for_the_next_start_of_the_hours_even_in_their_midst(now, start):
    assert when(placed(now, fits=["desktop"])) == (start, ("device",))


def test_quiet_and_preferred_hours_hold_where_it_waits_for_a_device():
    late = [quiet_hours("09:00", "10:30", "late_start")]
    assert when(placed(fits=["desktop"], quiet=late)) == (june(4, 10, 30), ("device", "late_start"))
    afternoon = [preferred_hours("15:00", "16:00", "afternoon")]
    expected = (june(4, 15), ("device", "late_start", "afternoon"))
    assert when(placed(fits=["desktop"], quiet=late, preferred=afternoon)) == expected
    assert when(placed(fits=["desktop"], preferred=[EVENING])) == (june(4, 9), ("device",))


def test_a_device_whose_hours_are_all_quiet_removes_it():
    assert removed(placed(fits=["tablet"], quiet=[quiet_hours("19:00", "23:00")])) == "no_hour"


def test_what_any_hour_will_do_for_still_waits_for_its_device():
    action = {"class": "mandatory", "any_hour": True}
    assert when(placed(action=action, fits=["tablet"], quiet=[quiet_hours("19:00", "21:00")])) == (
        june(3, 20),
        ("device",),
    )


def test_hours_of_a_device_begin_when_they_have_begun_in_every_zone():
    coasts = ("America/New_York", "America/Los_Angeles")
    assert when(placed(june(3, 12), zones=coasts, fits=["desktop"])) == (june(3, 16), ("device",))
    assert when(placed(june(3, 17), zones=coasts, fits=["desktop"])) == (june(4, 16), ("device",))
    assert removed(placed(zones=("Europe/Kaliningrad", "Asia/Anadyr"), fits=["tablet"])) == "no_hour"


@pytest.mark.parametrize("in_hand", ["tv", "phone"])
def test_what_fits_neither_the_device_in_hand_nor_one_with_hours_is_removed(in_hand):
    found = placed(fits=["watch"], listed={"watch": None, "phone": None}, in_hand=in_hand)
    assert removed(found) == "device"
    assert in_hand in found.text


def test_what_would_expire_before_the_device_is_at_hand_is_removed():
    assert removed(placed(action={"expires_after": "2h"}, fits=["desktop"])) == "expires_first"


def test_hours_may_be_named_as_the_device_is():
    found = placed(june(3, 23), fits=["desktop"], quiet=[quiet_hours("08:00", "10:00", "device")])
    assert when(found) == (june(4, 10), ("device",))
