"""When a treatment may arrive, found by looking at the clocks on the wall minute after minute."""

from datetime import UTC, timedelta
from itertools import pairwise

MINUTE = timedelta(minutes=1)
DAYS = 4
"""Longer than any wait: a change may take a whole day away, or hours of two days in a row."""


def slow_earliest(now, zones, quiet, device=None, preferred=()):
    """Return the first open moment; with a device to wait for, from the next start of its hours on."""
    begin = now if device is None else slow_start(now, zones, device)
    return begin and next((at for at in moments(begin) if is_open(at, zones, quiet, device, preferred)), None)


def slow_start(now, zones, device):
    """Return the first moment after now when the hours of a device begin in all zones."""
    inside = ((at, is_open(at, zones, (), device)) for at in moments(now))
    return next((at for (_, before), (at, after) in pairwise(inside) if after and not before), None)


def is_open(at, zones, quiet, device=None, preferred=()):
    return all(
        not any(is_within(rule, time) for rule in quiet)
        and (device is None or is_within(device, time))
        and (not preferred or any(is_within(rule, time) for rule in preferred))
        for time in {minute_of_day(at, zone) for zone in zones}
    )


def moments(now):
    """Return now, and the beginnings of the minutes after it, for days."""
    yield now
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    for count in range(1, DAYS * 24 * 60):
        yield minute + count * MINUTE


def minute_of_day(at, zone):
    local = at.astimezone(zone)
    return local.hour * 60 + local.minute


def is_within(hours, time):
    if hours.start < hours.end:
        return hours.start <= time < hours.end
    return time >= hours.start or time < hours.end
