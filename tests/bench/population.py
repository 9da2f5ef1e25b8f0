"""Synthetic customers with a past, and the requests that ask for them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from tact.decision.v1 import decision_service_pb2 as decision_pb
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.engine.playbook.playbook import Playbook

PLAYBOOK = Path(__file__).parent / "playbook"
DAYS = 88
EXPOSURES = 2
OUTCOME_DAYS = 7
ACTIONS_ASKED_FOR = 3
_OTHERS_PURCHASES = 9
_VISITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """So many customers as of ``now``; the same seed makes the same ones.

    Each has a favourite category, which shows in purchases and visits and makes offers of that
    category more likely to be taken, so that there is something to learn.
    """

    playbook: Playbook
    customers: int
    now: datetime
    seed: int

    @property
    def ids(self) -> list[str]:
        """The customers."""
        return [f"customer-{number:06d}" for number in range(self.customers)]

    def profiles(self) -> Iterator[profile_pb.ProfileUpdate]:
        """Describe every customer."""
        draw = random.Random(f"{self.seed} profiles")
        for customer_id in self.ids:
            attributes = {
                "segment": draw.choice(("new", "regular", "silver", "gold")),
                "region": draw.choice(("north", "east", "south", "west")),
                "tenure_years": draw.randrange(20),
                "newsletter": draw.random() < 0.5,
                "age": draw.randrange(18, 90),
            }
            yield profile_pb.ProfileUpdate(
                customer_id=customer_id,
                attributes={name: _value(value) for name, value in attributes.items()},
                identities=[profile_pb.Identity(kind="card", value=f"card-{customer_id}")],
                record_time=_timestamp(self.now - timedelta(days=DAYS)),
                source="bench",
            )

    def consents(self) -> Iterator[profile_pb.ConsentRecord]:
        """Permit everything on every channel."""
        for customer_id in self.ids:
            for channel in self.playbook.head.channels:
                yield profile_pb.ConsentRecord(
                    customer_id=customer_id,
                    consent=profile_pb.Consent(
                        receipt_id=f"{customer_id}-{channel}",
                        purpose="marketing",
                        channel=channel,
                        state=profile_pb.CONSENT_STATE_GRANTED,
                        record_time=_timestamp(self.now - timedelta(days=DAYS)),
                        source="bench",
                    ),
                )

    def events(self) -> Iterator[features_pb.Event]:
        """Tell what every customer did in the last 88 days, one purchase of the last 30 at least."""
        draw = random.Random(f"{self.seed} events")
        for customer_id in self.ids:
            for number, (type_, days_ago, attributes) in enumerate(self._past(draw)):
                yield features_pb.Event(
                    event_id=f"{customer_id}-{number}",
                    customer_id=customer_id,
                    type=type_,
                    event_time=_timestamp(self.now - timedelta(days=days_ago)),
                    attributes={name: _value(value) for name, value in attributes.items()},
                )

    def requests(self) -> list[decision_pb.DecideRequest]:
        """Ask for a live decision for every customer."""
        draw = random.Random(f"{self.seed} requests")
        return [
            decision_pb.DecideRequest(
                customer=profile_pb.CustomerKey(customer_id=customer_id),
                context=decision_pb.DecisionContext(
                    placement="home-banner",
                    channel="app",
                    device="phone",
                    attributes={"basket_value": Value(number_value=draw.randrange(10_000) / 100)},
                ),
                max_actions=ACTIONS_ASKED_FOR,
                mode=decision_pb.DECISION_MODE_LIVE,
            )
            for customer_id in self.ids
        ]

    def _past(self, draw: random.Random) -> Iterator[tuple[str, float, dict[str, Any]]]:
        actions = self.playbook.actions
        categories = sorted({str(action.attributes["category"]) for action in actions.values()})
        favourite = draw.choice(categories)

        def liked() -> str:
            return favourite if draw.random() < 0.5 else draw.choice(categories)

        for latest in (30, *(DAYS,) * _OTHERS_PURCHASES):
            yield (
                "purchase",
                draw.uniform(0.1, latest),
                {
                    "amount": draw.randrange(100, 20_000) / 100,
                    "quantity": draw.randrange(1, 6),
                    "category": liked(),
                    "channel": draw.choice(("app", "web", "shop")),
                    "discounted": draw.random() < 0.3,
                },
            )
        for _ in range(_VISITS):
            yield "visit", draw.uniform(0.1, DAYS), {"section": liked()}
        for _ in range(EXPOSURES):
            action_id = draw.choice(sorted(actions))
            days_ago = draw.uniform(OUTCOME_DAYS + 1, DAYS)
            yield "offer_sent", days_ago, {"action": action_id}
            if draw.random() < (0.9 if actions[action_id].attributes["category"] == favourite else 0.1):
                yield "offer_taken", days_ago - draw.uniform(0.1, OUTCOME_DAYS - 0.1), {"action": action_id}


def _value(value: str | float | bool) -> Value:
    if isinstance(value, bool):
        return Value(bool_value=value)
    return Value(string_value=value) if isinstance(value, str) else Value(number_value=value)


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
