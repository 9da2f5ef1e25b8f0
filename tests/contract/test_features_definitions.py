"""What is served equals what the definitions say, and nothing of it comes from the future.

The definitions are spelled out a second time here, slowly and in exact fractions.
"""

import asyncio
import math
import struct
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from itertools import count, pairwise
from operator import mul

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from tact.features.v1 import feature_service_pb2 as pb

from services.chassis.inprocess import InProcessStub
from services.engine.features.feature_set import KINDS
from services.engine.playbook import kinds
from services.engine.playbook.loader import load
from services.features.app import open_service
from services.features.settings import FeatureSettings

NOW = 1_700_000_000_000_000
WINDOW = 10_000_000
DAY = 86_400_000_000
SECOND = timedelta(seconds=1)
SHADES = ["pale", "deep", "dark"]

FILES = {
    "playbook.yaml": """
name: shapes
time_zone: UTC
currency: EUR
purposes: { marketing: {} }
channels: { mail: {} }
""",
    "profile.yaml": "",
    "events.yaml": """
events:
  order:
    attributes:
      amount: { type: decimal, scale: 2 }
      pieces: { type: integer }
      weight: { type: number }
      gift: { type: boolean }
      shade: { type: enum, values: [pale, deep, dark] }
      shop: { type: string }
  visit:
    attributes:
      shop: { type: string }
  returned:
    attributes:
      shop: { type: string }
""",
    "features.yaml": """
features:
  orders: { kind: count, event: order }
  orders_10s: { kind: count, event: order, window: 10s }
  gifts_10s: { kind: count, event: order, window: 10s, where: { gift: true, pieces: 1 } }
  visits_at_a: { kind: count, event: visit, where: { shop: a } }
  spend: { kind: sum, event: order, attribute: amount }
  spend_10s: { kind: sum, event: order, attribute: amount, window: 10s }
  deep_spend: { kind: sum, event: order, attribute: amount, where: { shade: deep } }
  pieces_10s: { kind: sum, event: order, attribute: pieces, window: 10s }
  mean_amount: { kind: mean, event: order, attribute: amount }
  mean_pieces_10s: { kind: mean, event: order, attribute: pieces, window: 10s }
  least_amount: { kind: min, event: order, attribute: amount }
  least_weight_10s: { kind: min, event: order, attribute: weight, window: 10s }
  most_pieces: { kind: max, event: order, attribute: pieces, where: { gift: true } }
  most_weight_10s: { kind: max, event: order, attribute: weight, window: 10s }
  first_amount: { kind: first, event: order, attribute: amount }
  first_shade_10s: { kind: first, event: order, attribute: shade, window: 10s }
  order_rate: { kind: rate, event: order, window: 10s }
  amount_rate: { kind: rate, event: order, attribute: amount, window: 20s }
  recent_orders: { kind: decayed, event: order, half_life: 3s }
  recent_amount_10s: { kind: decayed, event: order, attribute: amount, half_life: 7s, window: 10s }
  last_amount: { kind: last, event: order, attribute: amount }
  last_pieces_10s: { kind: last, event: order, attribute: pieces, window: 10s }
  last_weight: { kind: last, event: order, attribute: weight }
  last_gift_10s: { kind: last, event: order, attribute: gift, window: 10s }
  last_shade: { kind: last, event: order, attribute: shade }
  recency: { kind: recency, event: order }
  interval: { kind: interval, event: order }
  gift_interval_10s: { kind: interval, event: order, where: { gift: true }, window: 10s }
  gift_recency_10s: { kind: recency, event: order, where: { gift: true }, window: 10s }
  waiting: { kind: open, event: order, key: shop, closed_by: [returned] }
  gift_waiting_10s:
    { kind: open, event: order, key: shop, closed_by: [visit, returned], where: { gift: true }, window: 10s }
  shops: { kind: distinct, event: order, attribute: shop }
  shops_10s: { kind: distinct, event: order, attribute: shop, window: 10s }
  amounts: { kind: distinct, event: order, attribute: amount }
  shop_share: { kind: affinity, event: order, by: shop, to: shops, attribute: amount }
  shop_share_10s: { kind: affinity, event: order, by: shop, to: shops, window: 10s }
  shop_spend_10s:
    { kind: affinity, event: order, by: shop, to: shops, attribute: amount, measure: total, window: 10s }
  shade_orders: { kind: affinity, event: order, by: shade, to: shade, measure: total }
  id_visits: { kind: affinity, event: visit, by: shop, to: id, measure: total, where: { shop: a } }
  id_share: { kind: affinity, event: order, by: shop, to: id }
  fresh_orders: { kind: count, event: order, max_age: 10s }
  fresh_gifts_20s: { kind: count, event: order, where: { gift: true }, window: 20s, max_age: 10s }
  fresh_shade: { kind: last, event: order, attribute: shade, max_age: 10s, default: -1 }
  fresh_waiting:
    { kind: open, event: order, key: shop, closed_by: [visit, returned], max_age: 10s, default: 0 }
  usual_amount: { kind: mean, event: order, attribute: amount, default: 12.5 }
  fresh_share: { kind: affinity, event: order, by: shop, to: shops, max_age: 10s }
  usual_share: { kind: affinity, event: order, by: shop, to: shops, window: 20s, default: 0.25 }
  amount_per_order: { kind: expression, expression: feature.spend / feature.orders }
  orders_at_once: { kind: expression, expression: feature.fresh_orders * 2.0, default: -3 }
  usual_share_at_once: { kind: expression, expression: feature.usual_share * feature.orders_at_once }
  a_known_share:
    kind: expression
    expression: "known.feature.shop_share ? feature.shop_share * feature.amount_per_order : feature.spend"
""",
    "actions.yaml": """
attributes:
  shops: { type: weights }
  shade: { type: enum, values: [pale, deep, dark] }
groups: { all: {} }
actions:
  a:
    { group: all, purpose: marketing, value: 1, attributes: { shops: { a: 1.0, b: 0.5 }, shade: deep },
      treatments: { letter: { channel: mail, content: { text: a } } } }
  b:
    { group: all, purpose: marketing, value: 1, attributes: { shops: { c: 0.25 }, shade: dark },
      treatments: { letter: { channel: mail, content: { text: b } } } }
  plain:
    { group: all, purpose: marketing, value: 1,
      treatments: { letter: { channel: mail, content: { text: plain } } } }
""",
    "policies.yaml": "",
}
# Over the numbers of the features above them; those of customers rest on all orders.
FORMULAS = {
    "amount_per_order": lambda row: row["spend"] / row["orders"] if row["orders"] else math.nan,
    "orders_at_once": lambda row: -3.0 if math.isnan(row["fresh_orders"]) else row["fresh_orders"] * 2.0,
    "usual_share_at_once": lambda row: row["usual_share"] * row["orders_at_once"],
    "a_known_share": lambda row: (
        row["spend"] if math.isnan(row["shop_share"]) else row["shop_share"] * row["amount_per_order"]
    ),
}


@dataclass(frozen=True)
class Happening:
    number: int
    type: str
    time: int
    attributes: dict = field(hash=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The real service, and a counter that gives every example its own customers."""
    folder = tmp_path_factory.mktemp("shapes")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    playbook = load(folder)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        opening = open_service(FeatureSettings(home=tmp_path_factory.mktemp("home")), playbook, lambda: NOW)
        service = runner.run(stack.enter_async_context(opening))
        yield World(playbook, InProcessStub(service, 20.0), runner)
        runner.run(stack.aclose())


class World:
    def __init__(self, playbook, stub, runner):
        self.playbook = playbook
        self.stub = stub
        self.runner = runner
        self._customers = count()
        self.described = runner.run(stub.DescribeFeatures(pb.DescribeFeaturesRequest())).features

    def new_customer(self):
        return f"customer-{next(self._customers):08}"

    def ingest(self, customer_id, happenings):
        request = pb.IngestEventsRequest(events=[event(customer_id, h) for h in happenings])
        response = self.runner.run(self.stub.IngestEvents(request))
        assert all(result.HasField("accepted") for result in response.results), response

    def read(self, customer_id, as_of):
        keys = [
            pb.FeatureKey(customer_id=customer_id, as_of_time=timestamp(t), action_ids=self.playbook.actions)
            for t in as_of
        ]
        request = pb.BatchGetFeaturesRequest(customers=keys, playbook_version=self.playbook.version)
        return [result.vectors for result in self.runner.run(self.stub.BatchGetFeatures(request)).results]


def timestamp(micros):
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def event(customer_id, happening):
    made = pb.Event(
        event_id=f"{customer_id}-{happening.number:04}",
        customer_id=customer_id,
        type=happening.type,
        event_time=timestamp(happening.time),
    )
    for name, value in happening.attributes.items():
        kind = {str: "string_value", bool: "bool_value"}.get(type(value), "number_value")
        setattr(made.attributes[name], kind, float(value) if kind == "number_value" else value)
    return made


def within(definition, happenings, as_of):
    window = definition.window
    earliest = 0 if window is None else as_of - round(window.total_seconds() * 1_000_000)
    return [
        happening
        for happening in sorted(happenings, key=lambda h: (h.time, h.number))
        if happening.type == definition.event
        and earliest <= happening.time < as_of
        and all(happening.attributes.get(name) == value for name, value in definition.where.items())
    ]


def customer_value(definition, happenings, as_of):
    found = within(definition, happenings, as_of)
    given_values = [
        h.attributes[definition.attribute]
        for h in found
        if getattr(definition, "attribute", None) in h.attributes
    ]
    match definition.kind:
        case "count":
            return len(found)
        case "sum":
            return sum(given_values, Fraction(0))
        case "mean":
            return sum(given_values, Fraction(0)) / len(given_values) if given_values else math.nan
        case "distinct":
            return len(set(given_values))
        case "recency":
            return Fraction(as_of - found[-1].time, DAY) if found else math.nan
        case "open":
            left = [
                one
                for one in found
                if "shop" in one.attributes and not closed(definition, one, happenings, as_of)
            ]
            return Fraction(as_of - left[0].time, 1_000_000) if left else math.nan
        case "interval":
            gaps = [later.time - earlier.time for earlier, later in pairwise(found)]
            return Fraction(sum(gaps), len(gaps) * DAY) if gaps else math.nan
        case "min" | "max" as end:
            return (min if end == "min" else max)(given_values, default=math.nan)
        case "first" | "last" as end:
            chosen = given_values[0 if end == "first" else -1] if given_values else math.nan
            return SHADES.index(chosen) if chosen in SHADES else chosen
        case "rate":
            total = sum(given_values, Fraction(0)) if definition.attribute else len(found)
            return Fraction(total) / (definition.window // SECOND) * 86_400
        case "decayed":
            half_life = definition.half_life // SECOND * 1_000_000
            left = [2.0 ** ((h.time - as_of) / half_life) for h in found]
            if definition.attribute is None:
                return math.fsum(left)
            cents = [int(h.attributes.get(definition.attribute, 0) * 100) for h in found]
            return math.fsum(map(mul, cents, left)) / 100
    raise AssertionError(definition.kind)


def closed(definition, opened, happenings, as_of):
    return any(
        each.type in definition.closed_by
        and each.attributes.get("shop") == opened.attributes["shop"]
        and (opened.time, opened.number) <= (each.time, each.number)
        and each.time < as_of
        for each in happenings
    )


def candidate_value(definition, happenings, as_of, action_id, action):
    wanted = {action_id: 1.0} if definition.to == "id" else action.attributes.get(definition.to)
    if wanted is None:
        return math.nan
    weights = {wanted: 1.0} if isinstance(wanted, str) else wanted
    matched = whole = Fraction(0)
    for happening in within(definition, happenings, as_of):
        if (word := happening.attributes.get(definition.by)) is not None:
            amount = 1 if definition.attribute is None else happening.attributes.get(definition.attribute, 0)
            whole += amount
            matched += Fraction(weights.get(word, 0)) * amount
    if definition.measure == "total":
        return matched
    return matched / whole if whole > 0 else math.nan


TOLD_BY = {
    **dict.fromkeys(["mean", "min", "max", "first", "last", "distinct"], "attribute"),
    "affinity": "by",
    "open": "key",
}
"""Which key of a definition names what an event must carry so that a number rests on it."""


def age(definition, happenings, as_of):
    found = within(definition, happenings, as_of)
    for kind in getattr(definition, "closed_by", ()):
        found += within(definition.model_copy(update={"event": kind, "where": {}}), happenings, as_of)
    needed = TOLD_BY.get(definition.kind)
    found = [one for one in found if needed is None or getattr(definition, needed) in one.attributes]
    newest = max((happening.time for happening in found), default=None)
    return math.nan if newest is None else Fraction(as_of - newest, 1_000_000)


def stated(definition, value, happenings, as_of):
    """Return a value unless it is too old, then what stands in for a missing one."""
    too_old = math.inf if definition.max_age is None else definition.max_age // SECOND
    value = math.nan if age(definition, happenings, as_of) >= too_old else float(value)
    return definition.default if math.isnan(value) and definition.default is not None else value


def packed(values):
    return struct.pack(f"<{len(values)}d", *map(float, values))


def expected(world, happenings, as_of):
    features = world.playbook.features
    of_customer, of_candidate = (
        [feature.name for feature in world.described if feature.served and feature.scope == scope]
        for scope in (pb.FEATURE_SCOPE_CUSTOMER, pb.FEATURE_SCOPE_CANDIDATE)
    )
    rows = []
    for action_id, action in world.playbook.actions.items():
        row = {}
        for name, definition in features.items():
            if name in FORMULAS:
                row[name] = FORMULAS[name](row)
            elif definition.kind == "affinity":
                value = candidate_value(definition, happenings, as_of, action_id, action)
                row[name] = stated(definition, value, happenings, as_of)
            else:
                value = customer_value(definition, happenings, as_of)
                row[name] = stated(definition, value, happenings, as_of)
        rows.append(row)
    rest_on = {name: features["orders" if name in FORMULAS else name] for name in of_customer}
    return (
        packed([rows[0][name] for name in of_customer]),
        packed([age(definition, happenings, as_of) for definition in rest_on.values()]),
        packed([row[name] for row in rows for name in of_candidate]),
    )


def served(vectors):
    return vectors.customer_vector, vectors.customer_ages, vectors.candidate_vectors


def some(values):
    return st.fixed_dictionaries({}, optional=values)


START = NOW - 100 * WINDOW
# Few different times, so that events fall together and onto the edges of windows.
times = st.sampled_from(
    [START + offset + step for offset in (0, WINDOW, 2 * WINDOW) for step in (-1, 0, 1, 7)]
)
cents = st.integers(-10_000, 1_000_000).map(lambda units: Fraction(units, 100))
shops = st.sampled_from("abc")
orders = st.tuples(
    st.just("order"),
    times,
    some(
        {
            "amount": cents,
            "pieces": st.integers(0, 3).map(Fraction),
            "weight": st.floats(-1e300, 1e300),
            "gift": st.booleans(),
            "shade": st.sampled_from(SHADES),
            "shop": shops,
        }
    ),
)
visits = st.tuples(st.sampled_from(["visit", "returned"]), times, some({"shop": shops}))
happenings = st.lists(st.one_of(orders, visits), max_size=25).map(
    lambda made: [Happening(number, *what) for number, what in enumerate(made)]
)


def test_the_playbook_here_has_every_kind(world):
    declared = {type(definition) for definition in world.playbook.features.values()}
    assert declared == {*KINDS, kinds.ExpressionFeature}


@settings(max_examples=80, deadline=None)
@given(data=st.data(), happened=happenings)
def test_vectors_equal_the_definitions_to_the_last_bit(world, data, happened):
    customer_id, other = world.new_customer(), world.new_customer()
    as_of = data.draw(st.lists(times, min_size=1, max_size=3))
    arriving = data.draw(st.permutations(happened + happened[:5]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arriving)), max_size=2)))
    world.ingest(other, happened[:3])
    for start, end in zip([0, *cuts], [*cuts, len(arriving)], strict=True):
        world.ingest(customer_id, arriving[start:end])
        arrived = set(arriving[:end])
        for time, vectors in zip(as_of, world.read(customer_id, as_of), strict=True):
            assert served(vectors) == expected(world, arrived, time)


@settings(max_examples=60, deadline=None)
@given(happened=happenings, until=times, earlier=times)
def test_deleting_the_future_changes_no_vector(world, happened, until, earlier):
    with_future, without = world.new_customer(), world.new_customer()
    past = [happening for happening in happened if happening.time < until]
    as_of = [until, min(until, earlier)]
    world.ingest(without, past)
    world.ingest(with_future, past[:5])
    world.read(with_future, as_of)
    world.ingest(with_future, happened)
    for whole, cut in zip(world.read(with_future, as_of), world.read(without, as_of), strict=True):
        assert served(whole) == served(cut)
