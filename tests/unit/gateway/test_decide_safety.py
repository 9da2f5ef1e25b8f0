"""Whatever the playbook, the world and the request: nothing leaves that must not, and the slow way agrees."""

import asyncio
import json
import math
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import slow_pipeline as slow
from deciding import instant, json_value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.engine.arbitration.arms import arm_of
from services.engine.features.feature_set import FeatureSet
from services.engine.features.schema import fingerprint
from services.engine.playbook.loader import load
from services.engine.policy.consent import Permission
from services.gateway.adapters.encoding import ProtoEncoder
from services.gateway.adapters.requests import decision_request
from services.gateway.domain.knowledge import Cause, Model, Origin, Profile, Unavailable
from services.gateway.domain.last_good import LastGood
from services.gateway.fakes import InMemoryFeatures, InMemoryLog, InMemoryProfiles, InMemoryScorer
from services.gateway.handlers import DecideHandler
from services.gateway.journal import Journal
from services.gateway.known_model import KnownModel
from services.gateway.propensities import Propensities
from services.gateway.resolver import Resolver

CHANNELS = ("sms", "mail", "app")
ACTIONS = ("alpha", "beta", "delta", "omega")
ARMS = ("random_eligible", "no_levers", "propensity_only", "eligibility_only", "hold_out")
CLOCKS = ("00:00", "06:30", "08:00", "12:00", "20:00", "22:15", "23:59")
# Moments around changes of clocks, and plain ones.
MOMENTS = st.sampled_from(
    [
        datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 4, 4, 13, 45, tzinfo=UTC),
        datetime(2026, 6, 1, 21, 15, 7, tzinfo=UTC),
        datetime(2026, 6, 2, 10, 0, tzinfo=UTC),
    ]
)
PRIOR = 0.3
SECRETS = ("987123987", "444555666", "55667788")
FACTORS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])


def scopes():
    return st.one_of(
        st.just({}),
        st.builds(lambda group: {"groups": [group]}, st.sampled_from(["offers", "notices"])),
        st.builds(
            lambda names: {"actions": names}, st.lists(st.sampled_from(ACTIONS), min_size=1, unique=True)
        ),
        st.builds(
            lambda names: {"channels": names}, st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True)
        ),
        st.just({"treatments": ["alpha/t0"]}),
        st.just({"purposes": ["marketing"], "classes": ["standard", "transactional"]}),
        st.just({"groups": ["offers"], "actions": ["omega"], "channels": ["sms", "app"]}),
    )


def statements(**others):
    return st.lists(
        st.fixed_dictionaries({"text": st.just("Because."), "applies_to": scopes(), **others}), max_size=3
    )


CONDITION = st.sampled_from(sorted(slow.CONDITIONS))
RULES = statements(when=CONDITION, protective=st.booleans())
QUIET = statements(hours=st.lists(st.sampled_from(CLOCKS), min_size=2, max_size=2, unique=True))


@st.composite
def policies(draw):
    found = {stage: draw(RULES) for stage in ("eligibility", "applicability", "suitability")}
    found["suppression"] = draw(statements(when=CONDITION))
    found["weights"] = draw(statements(when=CONDITION, factor=FACTORS))
    found["levers"] = draw(statements(factor=FACTORS))
    found["quiet_hours"] = draw(QUIET)
    names = count()
    for section in found.values():
        for statement in section:
            statement["name"] = f"r{next(names)}"
            if hours := statement.pop("hours", None):
                statement["from"], statement["to"] = hours
    return found


@st.composite
def actions(draw, number):
    action = {
        "group": draw(st.sampled_from(["offers", "notices"])),
        "class": draw(st.sampled_from(["standard", "standard", "transactional", "mandatory", "default"])),
        "purpose": draw(st.sampled_from(["marketing", "care"])),
        "value": draw(st.sampled_from([0, 1, 5, 10])),
        "attributes": draw(st.sampled_from([{}, {"discount": 0.2}, {"discount": 0.4}])) | {"number": number},
        "treatments": {
            f"t{index}": {
                "channel": channel,
                "cost": draw(st.sampled_from([0, 0.25, 1])),
                "content": {"headline": "Hello"},
            }
            for index, channel in enumerate(draw(st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3)))
        },
    }
    if action["class"] in slow.FREE_OF_CONSENT and draw(st.booleans()):
        action["any_hour"] = True
    if draw(st.booleans()):
        action["expires_after"] = draw(st.sampled_from(["1h", "9h", "30h"]))
    if action["class"] not in slow.FREE_OF_CONSENT and draw(st.integers(0, 3)) == 0:
        action["minimum_propensity"] = 0.2
    return action


@st.composite
def playbooks(draw):
    arms = draw(st.lists(st.sampled_from(ARMS), max_size=2, unique=True))
    exploration = draw(
        st.sampled_from(
            [None, None, {"method": "softmax", "temperature": 0.5}, {"method": "epsilon", "epsilon": 0.3}]
        )
    )
    return {
        "playbook": {
            "name": "generated",
            "time_zone": "America/New_York",
            "currency": "EUR",
            "threshold": draw(st.sampled_from([0, 0.5, -1])),
            "minimum_propensity": draw(st.sampled_from([0.0, 0.15])),
            "purposes": {"marketing": {}, "care": {}, "family": {"use": "data"}},
            "channels": {channel: {} for channel in CHANNELS},
            "context": {"mood": {"type": "integer", "provenance": "borrowed"}},
            "control_arms": dict.fromkeys(arms, 0.25),
            **({} if exploration is None else {"exploration": exploration}),
        },
        "profile": {
            "attributes": {
                "age": {"type": "integer"},
                "member": {"type": "boolean"},
                "time_zone": {"type": "string"},
                "country": {"type": "string"},
                "secret": {"type": "integer", "consent": "family"},
                "rumour": {"type": "integer", "provenance": "borrowed", "max_age": "1d"},
            }
        },
        "events": {
            "events": {
                "order": {
                    "attributes": {"amount": {"type": "decimal", "scale": 2}, "kind": {"type": "string"}}
                },
                "visit": {"consent": "family", "attributes": {"what": {"type": "string"}}},
            }
        },
        "features": {
            "features": {
                "spend": {"kind": "sum", "event": "order", "attribute": "amount"},
                "visits": {"kind": "count", "event": "visit"},
                "liking": {"kind": "affinity", "event": "order", "by": "kind", "to": "id"},
                "number": {"kind": "action", "attribute": "number"},
            }
        },
        "actions": {
            "attributes": {"discount": {"type": "number"}, "number": {"type": "integer"}},
            "groups": {"offers": {}, "notices": {}},
            "actions": {action_id: draw(actions(number)) for number, action_id in enumerate(ACTIONS)},
        },
        "policies": draw(policies()),
    }


@st.composite
def worlds(draw, at):
    def some(values):
        return {name: value for name, value in values.items() if draw(st.booleans())}

    states = st.sampled_from(["granted", "granted", "denied"])
    ends = st.sampled_from(
        [None, at, at + timedelta(microseconds=1), at + timedelta(hours=5), at - timedelta(days=1)]
    )
    pairs = [*((p, c) for p in ("marketing", "care") for c in CHANNELS), ("family", "")]
    return {
        "attributes": some(
            {
                "age": draw(st.sampled_from([0, 1, 17, 18, 70])),
                "member": draw(st.booleans()),
                "secret": 987_123_987,
                "rumour": draw(st.sampled_from([0, 444_555_666])),
                "time_zone": draw(st.sampled_from(["Asia/Kolkata", "Australia/Lord_Howe"])),
                "country": draw(st.sampled_from(["NZ", "DE", "XX"])),
            }
        ),
        "consents": some({pair: (draw(states), draw(ends)) for pair in pairs}),
        "features": some({"spend": draw(st.sampled_from([5.0, 50.0])), "visits": 3.0}),
        "candidates": {
            action_id: some({"liking": draw(st.sampled_from([0.4, 0.6]))}) for action_id in ACTIONS
        },
        "scores": {action_id: draw(st.sampled_from([0.0, 0.1, 0.2, 0.5])) for action_id in ACTIONS},
    }


@st.composite
def scenes(draw):
    playbook = draw(playbooks())
    at = draw(MOMENTS)
    context = {"attributes": draw(st.sampled_from([{}, {"mood": 0}, {"mood": 55_667_788}]))}
    if draw(st.booleans()):
        context["time_zone"] = draw(st.sampled_from(["Europe/Berlin", "America/St_Johns"]))
    if draw(st.booleans()):
        context["country"] = "NZ"
    customer_id = draw(st.sampled_from([f"customer-{number}" for number in range(12)]))
    arm, _ = arm_of(playbook["playbook"]["control_arms"], "generated", customer_id)
    return {
        "playbook": playbook,
        "world": draw(worlds(at)),
        "customer_id": customer_id,
        "asked": {"at": at, "context": context, "max_actions": draw(st.integers(1, 5)), "arm": arm},
        "down": draw(st.sampled_from([(), (), (), ("features",), ("scoring",), ("profile",)])),
        "live": draw(st.booleans()),
    }


def write(folder, data):
    for name, content in data.items():
        (folder / f"{name}.yaml").write_text(json.dumps(content))
    return load(folder)


def answer(scene):
    """Return what the gateway answers and logs."""
    with tempfile.TemporaryDirectory() as folder:
        playbook = write(Path(folder), scene["playbook"])
    features, world, at = FeatureSet(playbook), scene["world"], scene["asked"]["at"]
    lost = Unavailable(Cause.UNAVAILABLE, "out of reach")
    profile = Profile(
        customer_id=scene["customer_id"],
        attributes=world["attributes"],
        origins={name: Origin(record_time=at - timedelta(days=1)) for name in world["attributes"]},
        permissions={
            pair: Permission(granted=state == "granted", expire_time=expires)
            for pair, (state, expires) in world["consents"].items()
        },
    )
    reader = InMemoryFeatures(
        customer={name: world["features"].get(name, math.nan) for name in features.customer_names},
        per_action={
            action_id: {"liking": row.get("liking", math.nan)}
            for action_id, row in world["candidates"].items()
        },
    )
    layout = tuple(features.layout(("visits", "number")))
    described = Model(
        version="1", fingerprint=fingerprint(layout), layout=layout, priors={}, overall_prior=PRIOR
    )
    scorer = InMemoryScorer(
        model=described, score_row=lambda customer, row: world["scores"][ACTIONS[int(row[0])]]
    )
    log, ticks = InMemoryLog(model=described), count(0, 1_000)
    down = scene["down"]
    reader.failure = lost if "features" in down else None
    scorer.failure = lost if "scoring" in down else None
    profiles = InMemoryProfiles(
        profiles={scene["customer_id"]: profile}, failure=lost if "profile" in down else None
    )

    def now():
        return at

    def monotonic():
        return next(ticks)

    model = KnownModel(scorer, log, playbook, features)
    handler = DecideHandler(
        playbook=playbook,
        feature_set=features,
        resolver=Resolver(profiles=profiles, features=reader, last_good=LastGood(10, timedelta(1)), now=now),
        propensities=Propensities(playbook=playbook, feature_set=features, scorer=scorer, model=model),
        journal=Journal(log=log, now=now, monotonic=monotonic, observe=lambda *_: None),
        now=now,
        monotonic=monotonic,
    )
    asked = pb.DecideRequest(
        request_id="r",
        customer=profile_pb.CustomerKey(customer_id=scene["customer_id"]),
        max_actions=scene["asked"]["max_actions"],
        mode=pb.DECISION_MODE_LIVE if scene["live"] else pb.DECISION_MODE_DRY_RUN,
        include_explanation=True,
        decision_time=instant(at),
    )
    context = scene["asked"]["context"]
    asked.context.time_zone = context.get("time_zone", "")
    asked.context.location.country = context.get("country", "")
    for name, raw in context["attributes"].items():
        asked.context.attributes[name].CopyFrom(json_value(raw))
    encoder = ProtoEncoder(asked, "anonymous", playbook, features)
    made = asyncio.run(handler.decide(decision_request(asked, "anonymous"), "", lambda: None, encoder))
    [entry] = log.entries.values()
    return made, entry.record


def seen(scene):
    """Return the world as far as it can be read, in the eyes of the slow way."""
    world, down = scene["world"], scene["down"]
    if "profile" in down:
        world = world | {"attributes": {}, "consents": {}}
    if "features" in down:
        world = world | {"features": {}, "candidates": {}}
    if "features" in down or "scoring" in down:
        world = world | {"scores": dict.fromkeys(ACTIONS, PRIOR)}
    return world


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(scenes())
def test_the_slow_way_decides_the_same(scene):
    asked, playbook = scene["asked"], scene["playbook"]
    if "exploration" in playbook["playbook"] or asked["arm"] == "random_eligible":
        playbook = playbook | {
            "playbook": {k: v for k, v in playbook["playbook"].items() if k != "exploration"}
            | {"control_arms": {}}
        }
        scene = scene | {"playbook": playbook, "asked": asked | {"arm": ""}}
    made, _ = answer(scene)
    ranked, removed = slow.decide(playbook, seen(scene), scene["asked"])
    found = [(a.action_id, a.treatment_id, a.not_before_time.ToDatetime(UTC)) for a in made.actions]
    assert found == ranked
    traces = {
        (trace.action_id, trace.treatment_id): (trace.removed_stage, trace.removed_rule)
        for trace in made.explanation.candidates
        if trace.removed_stage
    }
    assert {key: (stage, None if stage == "consent" else rule) for key, (stage, rule) in traces.items()} == (
        removed
    )


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(scenes())
def test_no_answer_violates_consent_class_or_quiet_hours(scene):
    made, record = answer(scene)
    playbook, world, asked = scene["playbook"], seen(scene), scene["asked"]
    attributes, _ = slow.visible(world, asked["at"])
    names = slow.zones(playbook, attributes, asked["context"])
    for ranked in made.actions:
        action = playbook["actions"]["actions"][ranked.action_id]
        own = (ranked.action_id, action, ranked.treatment_id, action["treatments"][ranked.treatment_id])
        moment = ranked.not_before_time.ToDatetime(UTC)
        if action["class"] not in slow.FREE_OF_CONSENT:
            for when in (asked["at"], moment):
                assert slow.is_granted(world["consents"], action["purpose"], ranked.channel, when)
            assert asked["arm"] != "hold_out"
        if not action.get("any_hour"):
            hours = [
                (slow.minutes(rule["from"]), slow.minutes(rule["to"]))
                for rule in playbook["policies"]["quiet_hours"]
                if slow.concerns(rule["applies_to"], *own, "quiet_hours")
            ]
            assert not slow.is_quiet(hours, moment, names)
        assert moment >= asked["at"]
        assert not ranked.HasField("expire_time") or moment < ranked.expire_time.ToDatetime(UTC)
        assert 0 < ranked.selection_probability <= 1
    assert len(made.actions) <= asked["max_actions"]
    assert made.actions or made.reasons
    logged = log_pb.DecisionRecord.FromString(record)
    certain = {
        a.action_id
        for a in made.actions
        if playbook["actions"]["actions"][a.action_id]["class"] == "mandatory"
    }
    drawn = [c.rank_one_probability for c in logged.candidates if c.action_id not in certain]
    assert math.isclose(sum(drawn), 1.0, abs_tol=1e-12)
    text = str(logged) + str(made)
    assert [secret for secret in SECRETS[1:] if secret in text] == []
    if not slow.is_granted(world["consents"], "family", "", asked["at"]):
        assert SECRETS[0] not in text
