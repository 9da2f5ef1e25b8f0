"""Whatever the playbook, the world and the request: nothing leaves that must not, and the slow way agrees."""

import asyncio
import json
import math
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import slow_contact
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
from services.engine.policy.contact import Contact, Facts
from services.gateway.adapters.encoding import ProtoEncoder
from services.gateway.adapters.requests import decision_request
from services.gateway.domain.knowledge import Cause, Model, Origin, Profile, Unavailable
from services.gateway.domain.last_good import LastGood
from services.gateway.domain.ledger import Offer, Standing
from services.gateway.domain.outcomes import OutcomeReport
from services.gateway.fakes import InMemoryFeatures, InMemoryLog, InMemoryProfiles, InMemoryScorer
from services.gateway.handlers import DecideHandler
from services.gateway.journal import Journal
from services.gateway.known_model import KnownModel
from services.gateway.ports import NotLogged
from services.gateway.propensities import Propensities
from services.gateway.resolver import Resolver
from services.gateway.turns import Turns

CHANNELS = ("sms", "mail", "app")
ACTIONS = ("alpha", "beta", "delta", "omega")
# The customer asked for is "", and was merged with another.
MEMBERS = ("", "", "merged", "stranger")
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
MICROSECOND = timedelta(microseconds=1)
WINDOWS = st.sampled_from(["1h", "1d", "30d", "day", "week", "month"])
# How long ago things of the ledger happened: at the edges of windows, and by another clock.
AGES = st.sampled_from(
    [
        *(
            length + edge
            for length in (timedelta(hours=1), timedelta(1), timedelta(30))
            for edge in (-MICROSECOND, timedelta(0), MICROSECOND)
        ),
        *map(timedelta, (0, 2, 9, 20)),
        *(timedelta(hours=hours, seconds=7) for hours in (0, 5, 9, 14, 23)),
        timedelta(seconds=-3),
    ]
)
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
PROMISES = statements(
    feature=st.sampled_from(["waiting", "unseen"]),
    within=st.sampled_from(["1h", "2h"]),
    most=st.sampled_from([1.5, 3, 9]),
)
LIKENESSES = ("group", "action", "treatment", "channel", "purpose")
ALIKE = st.lists(st.sampled_from(LIKENESSES), max_size=2, unique=True)
KINDS = st.sampled_from(["delivered", "viewed", "accepted", "rejected", "overridden"])
RESTS = statements(after=KINDS, rest=st.sampled_from(["1h", "1d", "30d"]), each=ALIKE)
NAMED = st.sampled_from(
    [
        {"groups": ["offers"]},
        {"groups": ["notices"]},
        {"actions": ["alpha", "delta"]},
        {"channels": ["sms"]},
        {"classes": ["transactional", "mandatory"]},
    ]
)
QUIET = statements(hours=st.lists(st.sampled_from(CLOCKS), min_size=2, max_size=2, unique=True))


@st.composite
def policies(draw):
    found = {stage: draw(RULES) for stage in ("eligibility", "applicability", "suitability")}
    found["suppression"] = draw(statements(when=CONDITION))
    found["weights"] = draw(statements(when=CONDITION, factor=FACTORS))
    found["levers"] = draw(statements(factor=FACTORS))
    found["promises"] = [one for one in draw(PROMISES) if one["applies_to"]]
    found["quiet_hours"] = draw(QUIET)
    found["caps"] = draw(statements(most=st.sampled_from([1, 1, 2]), window=WINDOWS, each=ALIKE))
    found["cool_downs"] = draw(RESTS)
    found["repeat_costs"] = draw(statements(amount=st.sampled_from([0.25, 1]), window=WINDOWS, each=ALIKE))
    found["precedence"] = draw(statements(first=NAMED, within=st.sampled_from(["", "1h", "1d"])))
    names = count()
    for section in found.values():
        for statement in section:
            statement["name"] = f"r{next(names)}"
            if hours := statement.pop("hours", None):
                statement["from"], statement["to"] = hours
    for statement in found["precedence"]:
        statement["applies_to"] = statement["applies_to"] or {"purposes": ["marketing"]}
        if not statement["within"]:
            del statement["within"]
    return found | {"claim_within": draw(st.sampled_from(["1h", "2d"]))}


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
    if draw(st.integers(0, 3)) == 0:
        action["stop_when"] = draw(CONDITION)
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
                "visit": {"consent": "family", "attributes": {"kind": {"type": "string"}}},
                "answered": {"attributes": {"kind": {"type": "string"}}},
            }
        },
        "features": {
            "features": {
                "spend": {"kind": "sum", "event": "order", "attribute": "amount"},
                "visits": {"kind": "count", "event": "visit"},
                "waiting": {"kind": "open", "event": "order", "key": "kind", "closed_by": ["answered"]},
                "unseen": {"kind": "open", "event": "order", "key": "kind", "closed_by": ["visit"]},
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
def contacts(draw, at):
    """Draw an earlier contact and what came of it."""
    action = {
        "group": draw(st.sampled_from(["offers", "notices"])),
        "class": draw(st.sampled_from(["standard", "standard", "transactional", "mandatory"])),
        "purpose": draw(st.sampled_from(["marketing", "care"])),
    }
    place = draw(st.sampled_from(ACTIONS)), action, draw(st.sampled_from(["t0", "t1"]))
    known = draw(st.sampled_from([("reserved",), ("reserved", "taken"), ("taken",), ("reserved", "back")]))
    moments = dict(zip(known, sorted(at - draw(AGES) for _ in known), strict=True))
    lasts = st.sampled_from([timedelta(0), -MICROSECOND, MICROSECOND, timedelta(hours=3)])
    return {
        "facts": slow_contact.facts_of(*place, {"channel": draw(st.sampled_from(CHANNELS))}),
        **{name: moments.get(name) for name in ("reserved", "taken", "back")},
        "until": at + draw(lasts) if "reserved" in known else None,
        "member": draw(st.sampled_from(MEMBERS)),
        "answers": [(kind, at - draw(AGES)) for kind in draw(st.lists(KINDS, max_size=2))],
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
        "features": some(
            {
                "spend": draw(st.sampled_from([5.0, 50.0])),
                "visits": 3.0,
                "waiting": draw(st.sampled_from([0.0, 900.0, 3600.0, 4500.0, 7200.0, 1e6])),
                "unseen": draw(st.sampled_from([1800.0, 9000.0])),
            }
        ),
        "candidates": {
            action_id: some({"liking": draw(st.sampled_from([0.4, 0.6]))}) for action_id in ACTIONS
        },
        "ledger": draw(st.lists(contacts(at), max_size=8)),
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
        "down": draw(
            st.sampled_from([(), (), (), (), ("features",), ("scoring",), ("profile",), ("ledger",)])
        ),
        "live": draw(st.booleans()),
    }


def eased(scene):
    """Return a scene in which little but the contact policy is in the way."""
    playbook, world = scene["playbook"], scene["world"]
    actions = {
        action_id: {key: value for key, value in action.items() if key not in ("stop_when", "expires_after")}
        | {"class": "standard" if action["class"] == "default" else action["class"], "value": 1 + number * 3}
        for number, (action_id, action) in enumerate(playbook["actions"]["actions"].items())
    }
    return scene | {
        "playbook": playbook
        | {
            "playbook": playbook["playbook"] | {"threshold": 0, "minimum_propensity": 0.0},
            "actions": playbook["actions"] | {"actions": actions},
            "policies": playbook["policies"] | {section: [] for section in (*slow.STAGES, "levers")},
        },
        "world": world
        | {
            "consents": {(p, c): ("granted", None) for p in ("marketing", "care") for c in CHANNELS},
            "scores": dict.fromkeys(ACTIONS, 0.5),
        },
        "asked": scene["asked"] | {"max_actions": 5},
    }


SCENES = st.one_of(scenes(), scenes().map(eased), scenes().map(eased))


def write(folder, data):
    for name, content in data.items():
        (folder / f"{name}.yaml").write_text(json.dumps(content))
    return load(folder)


class Unreadable(InMemoryLog):
    """A log whose ledger cannot be read."""

    async def ledger(self, members, since):
        raise NotLogged("out of order")


def remember(log, scene):
    """Put what is known of earlier contacts on the ledger."""
    for number, contact in enumerate(scene["world"]["ledger"]):
        words = dict(contact["facts"])
        facts = Facts(
            action_id=words.pop("action"),
            treatment_id=words.pop("treatment").split("/")[1],
            action_class=words.pop("class"),
            **words,
        )
        log.standings[f"old-{number}", 1] = Standing(
            customer_id=contact["member"] or scene["customer_id"],
            offer=Offer(facts=facts, claim_by=contact["until"]),
            contact=Contact(
                facts=facts,
                reserve_time=contact["reserved"],
                expire_time=contact["until"],
                consume_time=contact["taken"],
                release_time=contact["back"],
            ),
        )
        for kind, at in contact["answers"]:
            outcome_id = str(len(log.outcomes))
            log.outcomes[outcome_id] = OutcomeReport(
                outcome_id=outcome_id,
                decision_id=f"old-{number}",
                rank=1,
                kind=kind.upper(),
                outcome_time=at,
            )


def answer(scene):
    """Return what the gateway answers and logs."""
    with tempfile.TemporaryDirectory() as folder:
        playbook = write(Path(folder), scene["playbook"])
    features, world, at = FeatureSet(playbook), scene["world"], scene["asked"]["at"]
    lost = Unavailable(Cause.UNAVAILABLE, "out of reach")
    profile = Profile(
        customer_id=scene["customer_id"],
        members=(scene["customer_id"], "merged"),
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
    down, ticks = scene["down"], count(0, 1_000)
    log = (Unreadable if "ledger" in down else InMemoryLog)(model=described)
    remember(log, scene)
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
        turns=Turns(lambda: None),
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
    members, at = ("", "merged"), scene["asked"]["at"]
    if "profile" in down:
        world, members = world | {"attributes": {}, "consents": {}}, ("",)
    known = [contact for contact in world["ledger"] if contact["member"] in members]
    told = [
        {"facts": contact["facts"], "kind": kind, "at": moment}
        for contact in known
        for kind, moment in contact["answers"]
    ]
    if not scene["live"]:
        known = slow_contact.known_at(known, at)
        told = [each for each in told if each["at"] < at]
    world = world | {"contacts": known, "answers": told}
    if "features" in down:
        world = world | {"features": {}, "candidates": {}}
    if "features" in down or "scoring" in down:
        world = world | {"scores": dict.fromkeys(ACTIONS, PRIOR)}
    return world


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(SCENES)
def test_the_slow_way_decides_the_same(scene):
    asked, playbook = scene["asked"], scene["playbook"]
    if "exploration" in playbook["playbook"] or asked["arm"] == "random_eligible":
        playbook = playbook | {
            "playbook": {k: v for k, v in playbook["playbook"].items() if k != "exploration"}
            | {"control_arms": {}}
        }
        scene = scene | {"playbook": playbook, "asked": asked | {"arm": ""}}
    made, _ = answer(scene)
    if "ledger" in scene["down"] and slow_contact.exists(playbook["policies"]):
        assert not made.actions
        return
    ranked, worth, removed = slow.decide(playbook, seen(scene), scene["asked"])
    found = [(a.action_id, a.treatment_id, a.not_before_time.ToDatetime(UTC)) for a in made.actions]
    assert found == ranked
    assert [a.priority for a in made.actions] == pytest.approx(worth)
    traces = {
        (trace.action_id, trace.treatment_id): (trace.removed_stage, trace.removed_rule)
        for trace in made.explanation.candidates
        if trace.removed_stage
    }
    assert {key: (stage, None if stage == "consent" else rule) for key, (stage, rule) in traces.items()} == (
        removed
    )


def assert_contact_policy_holds(playbook, world, at, told):
    """Check each of what was told after all the others, whatever their order."""
    policies, before = playbook["policies"], world["contacts"]
    home = slow.home(playbook, slow.visible(world, at)[0])
    for number, facts in enumerate(told):
        others = [slow_contact.taken(other, at) for other in (*told[:number], *told[number + 1 :])]
        found = slow_contact.obstacle(policies, facts, [*before, *others], world["answers"], at, home)
        assert found is None
        assert slow_contact.waits(policies, facts, told, before, at) is None


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(SCENES)
def test_no_answer_violates_consent_class_quiet_hours_or_caps(scene):
    made, record = answer(scene)
    playbook, world, asked = scene["playbook"], seen(scene), scene["asked"]
    attributes, _ = slow.visible(world, asked["at"])
    names = slow.zones(playbook, attributes, asked["context"])
    told = []
    for ranked in made.actions:
        action = playbook["actions"]["actions"][ranked.action_id]
        own = (ranked.action_id, action, ranked.treatment_id, action["treatments"][ranked.treatment_id])
        told.append(slow_contact.facts_of(*own))
        moment = ranked.not_before_time.ToDatetime(UTC)
        if action["class"] not in slow.FREE_OF_CONSENT:
            for when in (asked["at"], moment):
                assert slow.is_granted(world["consents"], action["purpose"], ranked.channel, when)
            assert asked["arm"] != "hold_out"
        if not action.get("any_hour"):
            hours = [
                (slow.minutes(rule["from"]), slow.minutes(rule["to"]))
                for rule in playbook["policies"]["quiet_hours"]
                if slow.concerns(rule, own, "quiet_hours")
            ]
            assert not slow.is_quiet(hours, moment, names)
        assert moment >= asked["at"]
        assert not ranked.HasField("expire_time") or moment < ranked.expire_time.ToDatetime(UTC)
        assert 0 < ranked.selection_probability <= 1
        reserves = scene["live"] and slow_contact.takes_slot(playbook["policies"], told[-1])
        assert ranked.HasField("claim_by_time") == reserves
        assert not reserves or moment < ranked.claim_by_time.ToDatetime(UTC)
    assert not told or "ledger" not in scene["down"] or not slow_contact.exists(playbook["policies"])
    assert_contact_policy_holds(playbook, world, asked["at"], told)
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
