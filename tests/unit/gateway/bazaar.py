"""A playbook that uses all of the language, and worlds and requests for it, drawn at random."""

import functools
import json
import math
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deciding import Shop, instant, json_value
from tact.decision.v1 import decision_service_pb2 as pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.engine.features.feature_set import FeatureSet
from services.engine.features.schema import fingerprint
from services.engine.playbook.loader import load
from services.engine.policy.consent import Permission
from services.gateway.domain.knowledge import Cause, Model, Origin, Profile, Unavailable
from services.gateway.domain.making import Edition
from services.gateway.fakes import InMemoryFeatures, InMemoryProfiles, InMemoryScorer

NOW = datetime(2026, 3, 28, 21, 40, 11, 123_456, tzinfo=UTC)
CARD = ("card", "4711")
HEADS = (
    {},
    {"exploration": {"method": "softmax", "temperature": 0.7}, "threshold": 0.1},
    {"exploration": {"method": "epsilon", "epsilon": 0.4}, "slate": {"most_per_group": 1}},
    {"control_arms": {"no_levers": 0.1, "propensity_only": 0.1, "random_eligible": 0.1}},
    {"control_arms": {"hold_out": 0.25, "eligibility_only": 0.25}, "minimum_propensity": 0.2},
)
LAYOUT = ("spend", "visits", "liking", "discount", "segment", "hour", "eager")
BORROWED_NUMBER, BORROWED_MOOD = 7_654_321, 55_667_788


def _rule(name, when, **changes):
    return {"name": name, "text": f"Because of {name}.", "when": when, **changes}


FILES = {
    "playbook": {
        "name": "bazaar",
        "time_zone": "America/New_York",
        "currency": "EUR",
        "purposes": {"marketing": {}, "care": {}, "insight": {"use": "data"}},
        "channels": {
            "email": {"delay": "4h"},
            "app": {"delay": "1m"},
            "screen": {"public": True},
            "desk": {"recipient": "actor"},
        },
        "devices": {"phone": {}, "desktop": {"hours": {"from": "09:00", "to": "17:00"}}},
        "measures": {
            "effort": {"from": 0, "to": 10, "worth": -0.05},
            "delight": {"from": -1, "to": 1, "worth": 0.3},
        },
        "context": {
            "mood": {"type": "integer", "provenance": "borrowed"},
            "basket": {"type": "decimal", "scale": 2},
            "greeting": {"type": "string", "provenance": "displayed"},
            "due": {"type": "timestamp"},
        },
    },
    "profile": {
        "identities": {"card": {}},
        "attributes": {
            "age": {"type": "integer"},
            "segment": {"type": "enum", "values": ["new", "regular", "gold"]},
            "member": {"type": "boolean"},
            "since": {"type": "timestamp"},
            "income": {"type": "decimal", "scale": 2, "consent": "insight"},
            "rumour": {"type": "integer", "provenance": "borrowed", "max_age": "1d"},
            "nickname": {"type": "string", "provenance": "displayed"},
            "city": {"type": "string", "provenance": "copied"},
            "time_zone": {"type": "string"},
            "country": {"type": "string"},
        },
    },
    "events": {
        "events": {
            "order": {"attributes": {"amount": {"type": "decimal", "scale": 2}, "kind": {"type": "string"}}},
            "visit": {"consent": "insight", "attributes": {"kind": {"type": "string"}}},
            "shipped": {"attributes": {"kind": {"type": "string"}}},
        }
    },
    "features": {
        "features": {
            "visits": {"kind": "count", "event": "visit"},
            "spend": {"kind": "sum", "event": "order", "attribute": "amount"},
            "waiting": {"kind": "open", "event": "order", "key": "kind", "closed_by": ["shipped"]},
            "missed": {"kind": "open", "event": "visit", "key": "kind", "closed_by": ["order"]},
            "liking": {"kind": "affinity", "event": "order", "by": "kind", "to": "id"},
            "eager": {"kind": "expression", "expression": "feature.liking * 2.0 + feature.visits"},
            "segment": {"kind": "profile", "attribute": "segment"},
            "hour": {"kind": "context", "attribute": "hour"},
            "discount": {"kind": "action", "attribute": "discount"},
        }
    },
    "actions": {
        "attributes": {"discount": {"type": "number"}, "label": {"type": "string"}},
        "groups": {"offers": {}, "service": {}, "advice": {}},
        "bundles": {"trip": {"text": "They belong together.", "actions": ["tent", "stove", "receipt"]}},
        "actions": {
            "tent": {
                "group": "offers",
                "purpose": "marketing",
                "value": 8,
                "why": "You spent {feature.spend|little} in {profile.city|town}.",
                "attributes": {"discount": 0.25, "label": "outdoors"},
                "measures": {"delight": 0.5},
                "expires_after": "9h",
                "treatments": {
                    "letter": {
                        "channel": "email",
                        "cost": 0.1,
                        "content": {"headline": "{context.greeting|Hello} {profile.nickname|you}"},
                    },
                    "banner": {"channel": "app", "content": {"headline": "{action.label} {context.basket}"}},
                    "poster": {"channel": "screen", "devices": ["desktop"], "content": {"headline": "Tents"}},
                },
            },
            "stove": {
                "group": "offers",
                "purpose": "marketing",
                "value": 3,
                "minimum_propensity": 0.05,
                "treatments": {
                    "letter": {"channel": "email", "cost": 0.1, "content": {"headline": "Hot"}},
                    "banner": {"channel": "app", "devices": ["phone"], "content": {"headline": "Hot"}},
                },
            },
            "upgrade": {
                "group": "offers",
                "purpose": "marketing",
                "value": 20,
                "attributes": {"discount": 0.5},
                "measures": {"effort": 3},
                "valid": {"from": "2026-03-01", "through": "2026-03-29"},
                "treatments": {
                    "page": {
                        "channel": "app",
                        "devices": ["desktop", "phone"],
                        "content": {"headline": "Since {profile.since}, due {context.due|soon}"},
                    },
                    "talk": {"channel": "desk", "cost": 2, "content": {"headline": "Offer it"}},
                },
            },
            "receipt": {
                "group": "service",
                "class": "transactional",
                "purpose": "care",
                "value": 0.5,
                "treatments": {
                    "letter": {"channel": "email", "content": {"headline": "Receipt"}},
                    "banner": {
                        "channel": "app",
                        "devices": ["desktop"],
                        "content": {"headline": "Receipt"},
                    },
                },
            },
            "recall": {
                "group": "service",
                "class": "mandatory",
                "urgent": True,
                "any_hour": True,
                "purpose": "care",
                "value": 0,
                "treatments": {
                    "letter": {"channel": "email", "cost": 0.5, "content": {"headline": "Recall"}},
                    "banner": {"channel": "app", "content": {"headline": "Recall"}},
                },
            },
            "tip": {
                "group": "advice",
                "class": "default",
                "purpose": "care",
                "value": 0.1,
                "treatments": {"page": {"channel": "screen", "content": {"headline": "A tip"}}},
            },
        },
    },
    "policies": {
        "eligibility": [
            _rule("of_age", "profile.age >= 18", applies_to={"groups": ["offers"]}),
            _rule("decent", "profile.rumour < 10 || profile.member", applies_to={"actions": ["tent"]}),
            _rule("ratio", "100 / (profile.age - 30) > -1000", applies_to={"actions": ["upgrade"]}),
        ],
        "applicability": [
            _rule("hidden_ratio", "100 / context.mood >= 0", applies_to={"actions": ["stove"]}),
            _rule("solvent", "profile.income > 1000.0", applies_to={"actions": ["upgrade"]}),
        ],
        "suitability": [
            _rule("keen", "!known.feature.liking || feature.liking > 0.1", protective=True),
            _rule("fits", "treatment.channel != 'email' || context.mood != 3"),
        ],
        "suppression": [_rule("complaint", "known.context.mood && context.mood == 13")],
        "quiet_hours": [
            {"name": "night", "text": "People sleep.", "from": "22:00", "to": "07:30"},
            {
                "name": "lunch",
                "text": "People eat.",
                "from": "12:00",
                "to": "13:00",
                "applies_to": {"channels": ["app"]},
            },
        ],
        "preferred_hours": [
            _rule("evening", "profile.rumour > 0", **{"from": "18:00", "to": "20:00"}),
            _rule("morning", "profile.segment == 'gold'", **{"from": "08:00", "to": "10:00"}),
        ],
        "weights": [
            _rule("basket", "context.basket > 20.0", factor=1.5, applies_to={"groups": ["offers"]}),
            _rule("gossip", "profile.rumour > 5", factor=2),
            _rule("loyal", "profile.segment == 'gold' && feature.visits > 1.0", factor=1.2),
            _rule("cheap", "feature.discount > 0.2 && time.hour >= 0", factor=0.8),
        ],
        "promises": [
            {
                "name": "shipment",
                "text": "We ship at once.",
                "feature": "waiting",
                "within": "3s",
                "most": 7,
                "applies_to": {"groups": ["service"]},
            },
            {
                "name": "welcome",
                "text": "We greet everybody.",
                "feature": "missed",
                "within": "1m",
                "most": 1.5,
                "applies_to": {"channels": ["app", "desk"]},
            },
        ],
        "levers": [
            {"name": "push", "text": "We push tents.", "factor": 3, "applies_to": {"actions": ["tent"]}},
            {
                "name": "veto",
                "text": "No stoves on screens.",
                "factor": 0,
                "applies_to": {"treatments": ["stove/banner"]},
            },
        ],
    },
}


@functools.cache
def edition(head=0):
    """Load one of the playbook's variants."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in FILES.items():
            content = data | HEADS[head] if name == "playbook" else data
            (Path(folder) / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")
        playbook = load(Path(folder))
    return Edition(playbook, FeatureSet(playbook))


def shop(rng, head=0):
    """Open a gateway on a world of one customer."""
    book, features = edition(head)
    layout = tuple(features.layout(LAYOUT))
    model = Model(
        version="7",
        fingerprint=fingerprint(layout),
        layout=layout,
        priors={"offers": 0.2},
        overall_prior=rng.choice([0.0, 0.4]),
    )
    customer_id = f"customer-{rng.randrange(30)}"
    return Shop(
        now=NOW + timedelta(hours=rng.randrange(48)),
        edition=edition(head),
        profiles=InMemoryProfiles(
            profiles={customer_id: _profile(rng, customer_id)}, identities={CARD: customer_id}
        ),
        features=InMemoryFeatures(
            customer={
                name: rng.choice([0.0, 3.5, math.nan])
                for name in rng.sample(features.customer_names, len(features.customer_names))
            },
            per_action={
                action_id: {name: rng.choice([0.05, 0.7, 0.7, math.nan]) for name in features.candidate_names}
                for action_id in book.actions
            },
            sequence=rng.randrange(5),
        ),
        scorer=InMemoryScorer(model=model, score_row=_score),
    )


def _score(customer, row):
    return abs(math.sin(sum(number for number in (*customer, *row) if number == number) + 0.2))


def _profile(rng, customer_id):
    attributes = {
        "age": rng.choice([17, 18, 30, 70, 71]),
        "segment": rng.choice(["new", "gold"]),
        "member": rng.random() < 0.5,
        "since": "2019-05-01T08:00:00Z",
        "income": rng.choice([10.25, 2_000.5]),
        "rumour": rng.choice([0, BORROWED_NUMBER]),
        "nickname": "Jo",
        "city": "Lyon",
        "time_zone": rng.choice(["Asia/Kolkata", "Australia/Lord_Howe", "Nowhere/Land"]),
        "country": rng.choice(["NZ", "XX"]),
    }
    attributes = {name: value for name, value in attributes.items() if rng.random() < 0.92}
    return Profile(
        customer_id=customer_id,
        attributes=attributes,
        origins={
            name: Origin(record_time=NOW - timedelta(days=rng.randrange(9), microseconds=1), source="crm")
            for name in attributes
            if rng.random() < 0.8
        },
        permissions={
            (purpose, channel): Permission(
                granted=rng.random() < 0.9, expire_time=rng.choice([None, None, NOW, NOW + timedelta(days=9)])
            )
            for purpose, channel in (
                ("insight", ""),
                *((p, c) for p in ("marketing", "care") for c in ("email", "app", "screen", "desk")),
            )
            if rng.random() < 0.9
        },
    )


def request(rng, opened):
    """Write a request."""
    (customer_id,) = opened.profiles.profiles
    key = rng.choice(
        [profile_pb.CustomerKey(customer_id=customer_id)] * 4
        + [
            profile_pb.CustomerKey(customer_id="nobody"),
            profile_pb.CustomerKey(identity=profile_pb.Identity(kind=CARD[0], value=CARD[1])),
        ]
    )
    asked = pb.DecideRequest(
        request_id=rng.choice(["", f"r-{rng.random()}"]),
        customer=key,
        max_actions=rng.choice([0, 1, 3, 10]),
        mode=rng.choice([pb.DECISION_MODE_LIVE, pb.DECISION_MODE_DRY_RUN]),
        include_explanation=rng.random() < 0.5,
        groups=rng.choice([[], [], ["offers"]]),
        action_ids=rng.choice([[], [], [], ["tip", "tent"]]),
    )
    if rng.random() < 0.5:
        asked.decision_time.CopyFrom(instant(opened.now))
        asked.decision_time.nanos += 789
    if rng.random() < 0.5:
        asked.actor.CopyFrom(pb.Actor(id="agent", device=rng.choice(["", "phone"]), time_zone="Asia/Tokyo"))
    _context(rng, asked.context)
    return asked


def _context(rng, context):
    context.device = rng.choice(["", "phone", "desktop", "fridge"])
    context.channel = rng.choice(["", "app"])
    context.time_zone = rng.choice(["", "", "", "Europe/Berlin"])
    context.location.country = rng.choice(["", "", "US"])
    attributes = {
        "mood": rng.choice([0, 1, 2, 3, 13, BORROWED_MOOD]),
        "basket": rng.choice([5.0, 30.25]),
        "greeting": "Hi",
        "due": "2026-04-01T00:00:00Z",
    }
    for name, raw in attributes.items():
        if rng.random() < 0.6:
            context.attributes[name].CopyFrom(json_value(raw))


def break_something(rng, opened):
    """Take away what a decision may have to do without."""
    lost = Unavailable(rng.choice(list(Cause)), "out of reach")
    for reader in (opened.profiles, opened.features, opened.scorer):
        reader.failure = lost if rng.random() < 0.25 else None
