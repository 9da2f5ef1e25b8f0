"""Place and time: the device that a treatment arrives on, and when it may at the earliest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.engine.playbook.schema.catalogue import Action, Treatment
from services.engine.playbook.schema.head import Channel, Device, Hours
from services.engine.playbook.schema.policies import PreferredHours, QuietHours
from services.engine.policy.clocks import HORIZON, instant_of
from services.engine.policy.engagement import Removal
from services.engine.policy.hours import Timetable
from services.engine.policy.zones import Zones


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and when a treatment arrives.

    ``device`` is empty where nothing tells it. ``not_before`` is the time of the decision unless
    ``moved_by`` names what moved it: ``device``, quiet hours that were met on the way, and the
    preferred hours that it ended in. ``expires`` lies after ``not_before``.
    """

    device: str
    not_before: datetime
    expires: datetime | None
    moved_by: tuple[str, ...]


def place(
    *,
    treatment: Treatment,
    action: Action,
    channel: Channel,
    devices: Mapping[str, Device],
    zones: Zones,
    now: datetime,
    in_hand: str,
    context_channel: str,
    quiet: Sequence[QuietHours],
    preferred: Sequence[PreferredHours],
    validity_end: datetime | None,
    has_actor: bool,
) -> Place | Removal:
    """Return the device and the earliest allowed time of a treatment, or why there is none.

    ``quiet`` and ``preferred`` are the hours that concern it; ``zones`` and ``in_hand``, empty where
    unknown, are its recipient's. An hour must be allowed in every zone. Preferred hours, any of
    them, bind only where they leave time before the expiry. What does not fit the device in hand
    waits for the next start of the hours of one that it fits, even where any hour will do.
    """
    if channel.recipient == "actor" and not has_actor:
        return _removal("no_actor", "It is for the person who acts on the advice, and nobody is named.")
    if (fit := _fit(treatment, channel, devices, in_hand, context_channel)) is None:
        return _removal("device", f"It does not fit {in_hand}, nor a device with hours to wait for.")
    device, hours = fit
    if action.any_hour:
        quiet, preferred = (), ()
    timetable = Timetable(zones=zones.zones, quiet=quiet, device=hours)
    if (earliest := timetable.earliest(now)) is None:
        return _removal("no_hour", f"No hour of the coming {HORIZON.days} days is allowed.", quiet)
    expires = _expiry(action, now, validity_end)
    for stop in (timetable.preferring(preferred, earliest), earliest):
        not_before = max(now, instant_of(stop.minute))
        if expires is None or not_before < expires:
            return Place(device=device, not_before=not_before, expires=expires, moved_by=stop.moved_by)
    met = (rule for rule in quiet if rule.name in earliest.moved_by)
    return _removal("expires_first", "It would expire before it may arrive.", met)


def _fit(
    treatment: Treatment, channel: Channel, devices: Mapping[str, Device], in_hand: str, context_channel: str
) -> tuple[str, Hours | None] | None:
    """Return the device, with its hours where it is not the one in hand; None where none fits."""
    if not treatment.devices:
        is_here = channel.recipient == "actor" or context_channel == treatment.channel
        return in_hand if is_here else "", None
    if not in_hand or in_hand in treatment.devices:
        return in_hand or treatment.devices[0], None
    others = ((name, devices[name].hours) for name in treatment.devices)
    return next(((name, hours) for name, hours in others if hours), None)


def _expiry(action: Action, now: datetime, validity_end: datetime | None) -> datetime | None:
    ends = [] if validity_end is None else [validity_end]
    if action.expires_after is not None:
        ends.append(now + action.expires_after)
    return min(ends, default=None)


def _removal(rule: str, sentence: str, because: Iterable[QuietHours] = ()) -> Removal:
    return Removal(stage="place", rule=rule, text=" ".join([sentence, *(each.text for each in because)]))
