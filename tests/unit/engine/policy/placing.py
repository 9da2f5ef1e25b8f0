"""Places one treatment in a small world, changed where a test says so."""

from datetime import UTC, datetime

from services.engine.instants import zone
from services.engine.playbook.schema.catalogue import Action
from services.engine.playbook.schema.head import Channel, Device
from services.engine.playbook.schema.policies import PreferredHours, QuietHours
from services.engine.policy.place import place
from services.engine.policy.zones import Zones

NOW = datetime(2025, 6, 3, 12, 0, 0, 5, tzinfo=UTC)
DESK = {"desktop": ("09:00", "17:00"), "tablet": ("20:00", "22:00"), "phone": None}


def hours(start, end):
    return {"from": _clock(start), "to": _clock(end)}


def _clock(time):
    return f"{time // 60:02}:{time % 60:02}" if isinstance(time, int) else time


def quiet_hours(start, end, name="night"):
    text = f"The {name} is quiet."
    return QuietHours.model_validate({"name": name, "text": text, **hours(start, end)})


def preferred_hours(start, end, name="evening"):
    text = f"They like the {name}."
    return PreferredHours.model_validate({"name": name, "text": text, **hours(start, end)})


def devices(listed):
    return {
        name: Device.model_validate({} if span is None else {"hours": hours(*span)})
        for name, span in listed.items()
    }


def placed(now=NOW, *, action=None, fits=(), listed=DESK, zones=("UTC",), recipient="customer", **changes):
    """Place a treatment on the channel sms; ``action`` adds keys to its action."""
    treatment = {"channel": "sms", "devices": list(fits), "content": {"headline": "x"}}
    declared = {"group": "g", "purpose": "p", "value": 1, "treatments": {"text": treatment}, **(action or {})}
    parsed = Action.model_validate(declared)
    world = {
        "in_hand": "phone",
        "context_channel": "web",
        "quiet": [],
        "preferred": [],
        "validity_end": None,
        "has_actor": False,
    }
    return place(
        treatment=parsed.treatments["text"],
        action=parsed,
        channel=Channel(recipient=recipient),
        devices=devices(listed),
        zones=Zones(zones=tuple(map(zone, zones)), source="request"),
        now=now,
        **(world | changes),
    )
