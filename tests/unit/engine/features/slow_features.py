"""Every kind of feature, declared in many ways and recomputed from its own words, slowly and exactly."""

import json
import math
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise, product
from typing import NamedTuple

from hypothesis import strategies as st

from services.engine.features.feature_set import FeatureSet
from services.engine.features.history import History, StoredEvent
from services.engine.instants import local_time
from tests.playbooks import SHOP, load_playbook

NOW = 1_750_000_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
WINDOWS = {None: None, "45s": 45, "30m": 1_800, "12h": 43_200, "90d": 90 * 86_400}
HALF_LIVES = {"12h": 43_200, "7d": 7 * 86_400}
CATEGORIES = ("shoes", "books", "toys")
SHARES = [
    {"by": "category", "to": "categories"},
    {"by": "shop", "to": "season"},
    {"by": "shop", "to": "id"},
]
CONDITIONS = [{}, {"gift": True}, {"category": "toys", "items": 2}]
"""An event with these attributes, all at once, passes all the conditions."""
FULL = {"amount": 12.34, "items": 2, "category": "toys", "shop": "north", "gift": True, "rating": 1.5}


CLOSING = ("clicked", "returned")
"""The types of events that close, beside ``order``, that opens."""


def _attribute(name):
    return {"attribute": name} if name else {}


VARIANTS = {
    "count": [{}],
    "recency": [{}],
    "interval": [{}],
    **{kind: [_attribute(name) for name in ("amount", "items")] for kind in ("sum", "mean")},
    **{kind: [_attribute(name) for name in ("amount", "items", "rating")] for kind in ("min", "max")},
    **{
        kind: [_attribute(name) for name in ("amount", "items", "category", "gift", "rating")]
        for kind in ("first", "last")
    },
    "open": [
        {"key": "shop", "closed_by": closed_by} for closed_by in (["returned"], ["clicked", "returned"])
    ],
    "distinct": [_attribute(name) for name in ("shop", "category", "items", "gift", "rating")],
    "rate": [_attribute(name) for name in (None, "amount", "items")],
    "decayed": [
        {**_attribute(name), "half_life": half_life}
        for name in (None, "amount", "items")
        for half_life in HALF_LIVES
    ],
    "affinity": [
        {**share, **_attribute(name), "measure": measure}
        for share in SHARES
        for name in (None, "amount", "items")
        for measure in ("share", "total")
    ],
}


STATED = [{"default": -7.25}]
STATED += [{"max_age": max_age, **more} for max_age in WINDOWS if max_age for more in ({}, {"default": 0})]
"""What can be declared of numbers that are missing or too old."""


def of_events(kind):
    """Declare a kind with every window and attribute that go together, and with all that can be stated.

    Conditions come in turn.
    """
    windows, variants = [w for w in WINDOWS if w or kind != "rate"], VARIANTS[kind]
    made = [(window, variant) for variant in variants for window in windows]
    for number, (window, stated) in enumerate(product(windows, STATED)):
        variant = variants[(number + number // len(STATED)) % len(variants)]
        made.append((window, variant | stated))
    return {
        f"{kind}_{number}": {
            "kind": kind,
            "event": "order",
            **variant,
            **({"window": window} if window else {}),
            "where": CONDITIONS[number % 3],
        }
        for number, (window, variant) in enumerate(made)
    }


READ = {
    "orders": {"kind": "count", "event": "order", "window": "90d", "where": {}},
    "spend": {"kind": "sum", "event": "order", "attribute": "amount", "where": {}},
    "newest": {"kind": "recency", "event": "order", "window": "12h", "where": {}},
    "worst": {"kind": "min", "event": "order", "attribute": "rating", "where": {}},
    "matched": {"kind": "affinity", "event": "order", **SHARES[0], "measure": "share", "where": {}},
    "bought": {"kind": "affinity", "event": "order", **SHARES[2], "measure": "total", "where": {}},
    "fading": {"kind": "sum", "event": "order", "attribute": "amount", "max_age": "30m", "where": {}},
    "steady": {
        "kind": "last",
        "event": "order",
        "attribute": "rating",
        "max_age": "12h",
        "default": 0.5,
        "where": {},
    },
    "fond": {
        "kind": "affinity",
        "event": "order",
        **SHARES[0],
        "measure": "share",
        "max_age": "30m",
        "default": 0.25,
        "where": {},
    },
}
"""The features that the expressions read."""

# Names are such that some expressions come before those that they read.
FORMULAS = {
    "per_order": ("feature.spend / feature.orders", lambda n: n["spend"] / n["orders"]),
    "fresh": (
        "known.feature.newest ? 1.0 / (1.0 + feature.newest) : 0.0",
        lambda n: 0.0 if n["newest"] is None else 1.0 / (1.0 + n["newest"]),
    ),
    "chained": ("feature.per_order * 2.0 - feature.worst", lambda n: n["per_order"] * 2.0 - n["worst"]),
    "vast": ("feature.worst * 1e308 * 10.0", lambda n: n["worst"] * 1e308 * 10.0),
    "whole": (
        "double(int(feature.vast))",
        lambda n: float(int(n["vast"])) if abs(n["vast"]) < 2**63 else None,
    ),
    "lifted": ("feature.matched * feature.chained", lambda n: n["matched"] * n["chained"]),
    "again": ("feature.lifted + feature.bought", lambda n: n["lifted"] + n["bought"]),
    "waning": ("feature.fading * 2.0", lambda n: n["fading"] * 2.0),
    "faded": ("feature.fading + feature.steady", lambda n: n["fading"] + n["steady"]),
    "certain": (
        "known.feature.faded && !known.feature.waning ? 1.0 : 0.0",
        lambda n: float(n["faded"] is not None and n["waning"] is None),
    ),
    "keen": ("feature.fond * feature.faded", lambda n: n["fond"] * n["faded"]),
    "bold": ("feature.lifted * feature.steady", lambda n: n["lifted"] * n["steady"]),
}
DEFAULTS = {"faded": -7.25, "bold": 0}
"""What stands in for formulas that are missing."""

BATTERY = {
    **{kind: of_events(kind) for kind in VARIANTS},
    "expression": READ
    | {
        name: {
            "kind": "expression",
            "expression": text,
            **({"default": DEFAULTS[name]} if name in DEFAULTS else {}),
        }
        for name, (text, _) in FORMULAS.items()
    },
    "profile": {name: {"kind": "profile", "attribute": name} for name in ("age", "tier", "member")},
    "context": {
        name: {"kind": "context", "attribute": name} for name in ("page", "items", "hour", "weekday")
    },
    "action": {"discount": {"kind": "action", "attribute": "discount"}},
}

_SALE = {key: value for key, value in SHOP["actions"]["actions"]["sale"].items() if key != "attributes"}
ACTIONS = {
    "wide": {"categories": {"shoes": 1.0, "books": 0.5, "toys": 0.25}, "season": "north", "discount": 0.1},
    "narrow": {"categories": {"toys": 1}, "season": "nowhere"},
    "strange": {"categories": {"hats": 1.0, "toys": 0.0}},
    "north": {},
}
PROFILE = {"age": 44, "tier": "gold"}
CONTEXT = {"page": "basket"}
LOCAL = datetime(2025, 7, 6, 23, 59, tzinfo=UTC)
FIXED = {"age": 44, "tier": 1, "member": None, "page": 1, "items": None, "hour": 23, "weekday": 7}


def feature_set(folder, kind):
    """Load the shop with the features of one kind."""
    return FeatureSet(
        load_playbook(
            folder,
            ("features", "features", BATTERY[kind]),
            *(("events", "events", name, "attributes", "shop", {"type": "string"}) for name in CLOSING),
            ("actions", "actions", {name: _SALE | {"attributes": own} for name, own in ACTIONS.items()}),
            ("policies", {}),
        )
    )


class Numbers(NamedTuple):
    """All that a feature set says of one customer."""

    customer: dict
    candidates: dict
    ages: dict

    @property
    def bits(self):
        return json.dumps([{name: float(n).hex() for name, n in part.items()} for part in self])


def numbers(features, events, as_of=NOW):
    return numbers_of(features, History(events), as_of)


def numbers_of(features, history, as_of):
    rows = features.candidate_vectors(history, as_of, list(ACTIONS))
    candidates = {
        f"{action_id} {name}": number
        for action_id, row in zip(ACTIONS, rows.tolist(), strict=True)
        for name, number in [
            *zip(features.candidate_names, row, strict=True),
            *features.action_values(action_id).items(),
        ]
    }
    vector = features.customer_vector(history, as_of).tolist()
    ages = features.customer_ages(history, as_of).tolist()
    customer = dict(zip(features.customer_names, vector, strict=True))
    customer |= features.profile_values(PROFILE) | features.context_values(CONTEXT, local_time([LOCAL]))
    return Numbers(customer, candidates, dict(zip(features.customer_names, ages, strict=True)))


class Near(NamedTuple):
    """A number that is not a fraction; ``size`` is what its rounding is measured by."""

    value: Decimal
    size: Decimal


def same(found, expected):
    """Compare to the last bit, or where there are none exactly, to twelve digits."""
    if isinstance(expected, Near):
        return abs(Decimal(found) - expected.value) <= expected.size * Decimal("1e-12") + Decimal("1e-300")
    return math.isnan(found) if expected is None else found == float(expected)


def in_window(definition, events, as_of):
    length = WINDOWS[definition.get("window")]
    found = [
        event
        for event in events
        if event.type == definition["event"]
        and event.event_time < as_of
        and (length is None or event.event_time >= as_of - length * SECOND)
        and all(event.attributes.get(name) == value for name, value in definition["where"].items())
    ]
    return sorted(found, key=lambda event: (event.event_time, event.event_id))


def exact(value):
    """Read a decimal as it was written."""
    return Fraction(str(value))


def slow(definition, events, as_of):
    """Recompute a feature of a customer's events."""
    number = slow_number(definition, events, as_of)
    return slow_stated(definition, number, slow_since(definition, events, as_of))


def slow_stated(definition, number, age):
    """Forget a number that is too old, and put the default in the place of one that is missing."""
    if "max_age" in definition and age is not None and age >= WINDOWS[definition["max_age"]]:
        number = None
    return definition.get("default") if number is None else number


def slow_number(definition, events, as_of):
    found = in_window(definition, events, as_of)
    name = definition.get("attribute")
    values = [event.attributes[name] for event in found if name in event.attributes]

    def amounts():
        return [1 if name is None else exact(event.attributes.get(name, 0)) for event in found]

    match definition["kind"]:
        case "count":
            return len(found)
        case "recency":
            return Fraction(as_of - found[-1].event_time, DAY) if found else None
        case "open":
            waiting = [
                o for o in found if "shop" in o.attributes and not slow_closed(definition, o, events, as_of)
            ]
            return Fraction(as_of - waiting[0].event_time, SECOND) if waiting else None
        case "interval":
            gaps = [later.event_time - earlier.event_time for earlier, later in pairwise(found)]
            return Fraction(sum(gaps), len(gaps) * DAY) if gaps else None
        case "sum":
            return sum(amounts())
        case "mean":
            return sum(map(exact, values)) / len(values) if values else None
        case "rate":
            return sum(amounts()) / Fraction(WINDOWS[definition["window"]], 86_400)
        case "decayed":
            ages = [as_of - event.event_time for event in found]
            return slow_decay(amounts(), ages, HALF_LIVES[definition["half_life"]])
        case "distinct":
            return len(set(values))
        case "min":
            return min(values, default=None)
        case "max":
            return max(values, default=None)
        case "first" | "last" as end if values:
            value = values[0 if end == "first" else -1]
            return CATEGORIES.index(value) if name == "category" else value
    return None


def slow_closed(definition, opening, events, as_of):
    """Look whether any event so far closes an opening."""
    return any(
        event.type in definition["closed_by"]
        and event.attributes.get("shop") == opening.attributes["shop"]
        and (opening.event_time, opening.event_id) <= (event.event_time, event.event_id)
        and event.event_time < as_of
        for event in events
    )


def slow_decay(amounts, ages, half_life):
    with localcontext(prec=40):
        parts = [
            Decimal(a.numerator) / a.denominator * Decimal(2) ** (Decimal(-age) / (half_life * SECOND))
            for a, age in zip(map(Fraction, amounts), ages, strict=True)
        ]
        return Near(sum(parts, Decimal(0)), sum(map(abs, parts), Decimal(0)))


def slow_affinity(definition, events, as_of, action_id):
    """Recompute how much of a customer's events matches an action."""
    number = slow_match(definition, events, as_of, action_id)
    return slow_stated(definition, number, slow_since(definition, events, as_of))


def slow_match(definition, events, as_of, action_id):
    to = definition["to"]
    wanted = action_id if to == "id" else ACTIONS[action_id].get(to)
    if wanted is None:
        return None
    wanted = {wanted: 1} if isinstance(wanted, str) else wanted
    matched = whole = Fraction(0)
    for event in in_window(definition, events, as_of):
        if (word := event.attributes.get(definition["by"])) is None:
            continue
        name = definition.get("attribute")
        amount = Fraction(1) if name is None else exact(event.attributes.get(name, 0))
        whole += amount
        matched += amount * Fraction(wanted.get(word, 0))
    if definition["measure"] == "total":
        return matched
    return matched / whole if whole > 0 else None


def slow_numbers(kind, events, as_of, action_id):
    """Recompute all the features of a kind, for one action."""
    found = {}
    for name, definition in BATTERY[kind].items():
        match definition["kind"]:
            case "affinity":
                found[name] = slow_affinity(definition, events, as_of, action_id)
            case "profile" | "context":
                found[name] = FIXED[name]
            case "action":
                found[name] = ACTIONS[action_id].get(name)
            case "expression":
                found[name] = slow_formula(name, found)
            case _:
                found[name] = slow(definition, events, as_of)
    return found


def slow_formula(name, numbers):
    """Recompute an expression over the numbers that it reads."""
    floats = {n: value if value is None else float(value) for n, value in numbers.items()}
    try:
        number = FORMULAS[name][1](floats)
    except (TypeError, ZeroDivisionError):  # a missing value, or a division that CEL makes infinite
        number = None
    return number if number is not None and math.isfinite(number) else DEFAULTS.get(name)


def slow_age(kind, name, events, as_of):
    """Recompute the seconds since the newest event that a feature rests on."""
    definition = BATTERY[kind][name]
    if definition["kind"] == "expression":
        read = [other for other in BATTERY[kind] if f"feature.{other}" in definition["expression"]]
        ages = [slow_age(kind, other, events, as_of) for other in read]
        return min((age for age in ages if age is not None), default=None)
    return slow_since(definition, events, as_of)


TOLD_BY = {
    **dict.fromkeys(["mean", "min", "max", "first", "last", "distinct"], "attribute"),
    "affinity": "by",
    "open": "key",
}
"""Which key of a definition names what an event must carry so that the number rests on it."""


def slow_since(definition, events, as_of):
    found = in_window(definition, events, as_of)
    for event in definition.get("closed_by", ()):
        found += in_window({"event": event, "window": definition.get("window"), "where": {}}, events, as_of)
    needed = TOLD_BY.get(definition["kind"])
    found = [event for event in found if needed is None or definition[needed] in event.attributes]
    newest = max((event.event_time for event in found), default=None)
    return None if newest is None else Fraction(as_of - newest, SECOND)


OFFSETS = st.sampled_from(
    [0, 1, -1, *(-s * SECOND + d for s in WINDOWS.values() if s for d in (-1, 0, 1)), 5 * SECOND]
) | st.integers(-100 * DAY, 10 * SECOND)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.integers(-5_000, 100_000).map(lambda cents: cents / 100),
        "items": st.integers(-3, 4),
        "category": st.sampled_from(CATEGORIES),
        "shop": st.sampled_from(["north", "south", "wide", ""]),
        "gift": st.booleans(),
        "rating": st.floats(-5, 5),
    },
)
STREAMS = st.lists(
    st.tuples(OFFSETS, st.sampled_from(["order", "order", *CLOSING]), ATTRIBUTES | st.just(FULL)),
    max_size=25,
).map(
    lambda rows: [
        StoredEvent(event_id=f"e{number}", type=kind, event_time=NOW + offset, attributes=attributes)
        for number, (offset, kind, attributes) in enumerate(rows)
    ]
)
