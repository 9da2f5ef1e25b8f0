"""Whatever happens in whatever order, the gateway's ledger does as a flat list of what happened would."""

import asyncio
import contextlib
import json
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import slow_contact
import slow_ledger
import slow_pipeline as slow
from deciding import Shop, instant, request
from decision_logs import forgetful, postgresql, sqlite
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tact.decision.v1 import decision_service_pb2 as pb
from tact.errors.v1 import errors_pb2
from tact.log.v1 import decision_record_pb2 as log_pb

from services.chassis.faults import Fault
from services.chassis.rpc import Call
from services.engine.features.feature_set import FeatureSet
from services.engine.features.schema import fingerprint
from services.engine.playbook.loader import load
from services.engine.policy.consent import Permission
from services.gateway.adapters.encoding import ProtoEncoder
from services.gateway.adapters.recollection import recalling
from services.gateway.domain.knowledge import Model, Profile
from services.gateway.domain.making import Edition
from services.gateway.domain.remaking import finished, remaking
from services.gateway.fakes import InMemoryFeatures, InMemoryProfiles, InMemoryScorer

CUSTOMERS = ("anna", "ben", "cleo")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
CONSENTS = {
    (purpose, channel): ("granted", None)
    for purpose in ("marketing", "care")
    for channel in ("mail", "push", "desk")
}
HOMES = st.sampled_from(
    [
        *({"time_zone": f"America/{city}"} for city in ("Sao_Paulo", "St_Johns")),
        *({"time_zone": name} for name in ("Asia/Beirut", "Pacific/Apia", "Europe/London")),
        *({"country": code} for code in ("NZ", "PT")),
        {},
    ]
)
# Clocks change: midnight is skipped or comes twice, a whole day is missing, or it is but an hour at night.
CHANGES = st.sampled_from(
    [
        (datetime(2018, 11, 4, 3, tzinfo=UTC), {"time_zone": "America/Sao_Paulo"}),
        (datetime(2018, 2, 18, 3, tzinfo=UTC), {"time_zone": "America/Sao_Paulo"}),
        (datetime(2026, 3, 28, 22, tzinfo=UTC), {"time_zone": "Asia/Beirut"}),
        (datetime(2025, 10, 25, 21, tzinfo=UTC), {"time_zone": "Asia/Beirut"}),
        (datetime(2011, 12, 30, 10, tzinfo=UTC), {"time_zone": "Pacific/Apia"}),
        (datetime(2026, 3, 29, 1, tzinfo=UTC), {"time_zone": "Europe/London"}),
        (datetime(2010, 11, 7, 2, 31, tzinfo=UTC), {"time_zone": "America/St_Johns"}),
        (datetime(2026, 4, 4, 14, tzinfo=UTC), {"country": "NZ"}),
        (datetime(2025, 10, 26, 1, tzinfo=UTC), {"country": "PT"}),
    ]
)
WINDOWS = st.sampled_from(["1h", "2d", "30d", "day", "day", "week", "month"])
SCOPES = st.sampled_from(
    [
        {},
        {},
        {"groups": ["offers"]},
        {"groups": ["notices"]},
        {"channels": ["push"]},
        {"actions": ["apple", "docket"]},
        {"treatments": ["apple/letter", "cocoa/letter"]},
        {"purposes": ["care"], "classes": ["mandatory", "transactional"]},
    ]
)
NAMED = SCOPES.filter(bool)
EACH = st.lists(
    st.sampled_from(["group", "action", "treatment", "channel", "purpose"]), max_size=2, unique=True
)
SOMEBODY = st.sampled_from(["anna", "anna", "anna", "ben", "cleo"])
SOME_ACTIONS = st.sampled_from(
    [(), ("apple", "berry"), ("apple", "berry", "cocoa"), ("berry", "docket", "fact"), ("cocoa", "apple")]
)
MOST = st.sampled_from([4, 1, 2, 3])
CHOSEN_TIMES = st.sampled_from([None, None, None, timedelta(seconds=5), -timedelta(seconds=5)])
KINDS = ("DELIVERED", "VIEWED", "ACCEPTED", "REJECTED", "OVERRIDDEN")
JUMPS = st.one_of(
    st.timedeltas(-timedelta(seconds=5), timedelta(seconds=90)),
    st.timedeltas(timedelta(0), timedelta(hours=1)),
    st.timedeltas(timedelta(minutes=1), timedelta(hours=6)),
    st.timedeltas(timedelta(hours=6), timedelta(days=3)),
    st.timedeltas(timedelta(days=3), timedelta(days=70)),
)


def statements(longest=1, **others):
    fields = {"text": st.just("Because."), "applies_to": SCOPES, **others}
    return st.lists(st.fixed_dictionaries(fields), max_size=longest)


def precedences():
    fields = {"text": st.just("First things first."), "applies_to": NAMED, "first": NAMED}
    within = {"within": st.sampled_from(["1h", "2d"])}
    return st.lists(st.fixed_dictionaries(fields, optional=within), max_size=1)


NIGHT = {"text": "People sleep.", "from": "22:00", "to": "06:30"}
CAP = {"most": st.integers(1, 3), "window": WINDOWS}
REST = {"after": st.sampled_from(KINDS).map(str.lower), "rest": st.sampled_from(["1h", "2d", "30d"])}
COST = {"amount": st.sampled_from([1, 4]), "window": WINDOWS}


@st.composite
def policies(draw):
    found = {
        "suppression": [{"text": "The customer is upset.", "when": "profile.member"}],
        "quiet_hours": draw(st.sampled_from([[], [], [NIGHT]])),
        "caps": draw(statements(2, each=EACH, **CAP)),
        "cool_downs": draw(statements(2, each=EACH, **REST)),
        "repeat_costs": draw(statements(each=EACH, **COST)),
        "precedence": draw(precedences()),
    }
    found["caps"].append(draw(st.fixed_dictionaries({"text": st.just("Enough."), **CAP})))
    names = count()
    named = {key: [{"name": f"r{next(names)}"} | one for one in section] for key, section in found.items()}
    return named | {"claim_within": draw(st.sampled_from(["1h", "1d", "3d"]))}


def action(number, value, treatments, **changes):
    return {
        "group": "offers",
        "purpose": "marketing",
        "class": "standard",
        "value": value,
        "attributes": {"number": number},
        "treatments": {
            name: {"channel": channel, "cost": cost, "content": {"headline": "Hello"}}
            for name, (channel, cost) in treatments.items()
        },
        **changes,
    }


ACTIONS = {
    "apple": action(0, 20, {"letter": ("mail", 1), "ping": ("push", 0.5)}),
    "berry": action(1, 14, {"page": ("desk", 0), "ping": ("push", 0.5)}),
    "cocoa": action(
        2,
        10,
        {"letter": ("mail", 1)},
        group="notices",
        purpose="care",
        expires_after="20h",
        stop_when="profile.age > 17",
    ),
    "docket": action(
        3, 6, {"ping": ("push", 0.25)}, **{"group": "notices", "purpose": "care", "class": "transactional"}
    ),
    "event": action(
        4, 0, {"letter": ("mail", 0)}, **{"group": "notices", "purpose": "care", "class": "mandatory"}
    ),
    "fact": action(5, 1, {"page": ("desk", 0)}, **{"purpose": "care", "class": "default"}),
}


def playbook(statements, actions):
    return {
        "playbook": {
            "name": "kiosk",
            "time_zone": "Europe/London",
            "currency": "EUR",
            "threshold": 0,
            "minimum_propensity": 0.0,
            "purposes": {"marketing": {}, "care": {}},
            "channels": {"mail": {}, "push": {}, "desk": {"inbound": True}},
        },
        "profile": {
            "attributes": {
                "age": {"type": "integer"},
                "member": {"type": "boolean"},
                "time_zone": {"type": "string"},
                "country": {"type": "string"},
            }
        },
        "events": {"events": {"order": {}}},
        "features": {"features": {"number": {"kind": "action", "attribute": "number"}}},
        "actions": {
            "attributes": {"number": {"type": "integer"}},
            "groups": {"offers": {}, "notices": {}},
            "actions": actions,
        },
        "policies": statements,
    }


def edition(data):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in data.items():
            (Path(folder) / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")
        book = load(Path(folder))
    return Edition(book, FeatureSet(book))


def scorer(features):
    layout = tuple(features.layout(("number",)))
    model = Model(version="1", fingerprint=fingerprint(layout), layout=layout, priors={}, overall_prior=0.5)
    return InMemoryScorer(model=model)


def to_bytes(message):
    return message.SerializeToString(deterministic=True)


class Kiosk(RuleBasedStateMachine):
    """A gateway and its callers; ``model`` is what should be on its ledger."""

    opened = staticmethod(forgetful)

    def __init__(self):
        super().__init__()
        self.runner, self.stack = asyncio.Runner(), contextlib.AsyncExitStack()
        self.folder = tempfile.TemporaryDirectory()
        held = self.run(self.stack.enter_async_context(self.opened(Path(self.folder.name))))
        self.log, self.model, self.numbers = held.log, slow_ledger.Ledger(), count(1)
        self.dry, self.requests, self.unrest = [], [], 0
        self.canonical = {name: name for name in CUSTOMERS}
        self.attributes = {name: {"member": False, "age": 7} for name in CUSTOMERS}
        self.consents = {name: dict(CONSENTS) for name in CUSTOMERS}

    def teardown(self):
        self.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()

    def run(self, coroutine):
        return self.runner.run(coroutine)

    @initialize(
        statements=policies(),
        change=CHANGES,
        before=st.timedeltas(timedelta(0), timedelta(days=2)),
        homes=st.tuples(HOMES, HOMES),
        twins=st.booleans(),
        first=st.lists(st.tuples(SOMEBODY, MOST, SOME_ACTIONS, st.booleans(), JUMPS), min_size=1, max_size=4),
    )
    def begin(self, statements, change, before, homes, twins, first):
        moment, home = change
        self.now = moment - before
        for name, where in zip(CUSTOMERS, (home, *homes), strict=True):
            self.attributes[name] |= where
        self.playbook = playbook(statements, ACTIONS)
        made = edition(self.playbook)
        self.shop = Shop(
            now=self.now,
            log=self.log,
            edition=made,
            profiles=InMemoryProfiles(profiles={name: self.profile(name) for name in CUSTOMERS}),
            features=InMemoryFeatures(),
            scorer=scorer(made.feature_set),
        )
        self.begin_anew()
        for one in first:
            self.decide_and_wait(*one)
        if twins:
            self.canonical["ben"] = "anna"
            self.refresh()
            self.begin_anew()

    def use(self, statements, actions):
        """Put a playbook into use."""
        self.playbook = playbook(statements, actions)
        made = edition(self.playbook)
        self.shop.edition, self.shop.scorer = made, scorer(made.feature_set)
        self.shop.restart()

    def begin_anew(self):
        """Forget what was claimed so far: another rule, home or identity binds only what comes."""
        self.claimed = []
        self.disturb()

    def profile(self, owner):
        return Profile(
            customer_id=owner,
            members=self.members(owner),
            attributes=self.attributes[owner],
            permissions={
                key: Permission(granted=state == "granted", expire_time=ends)
                for key, (state, ends) in self.consents[owner].items()
            },
        )

    def members(self, owner):
        return tuple(sorted(name for name in CUSTOMERS if self.canonical[name] == owner))

    def world(self, name):
        owner = self.canonical[name]
        members = self.members(owner)
        return {
            "attributes": self.attributes[owner],
            "consents": self.consents[owner],
            "features": {},
            "candidates": {},
            "scores": dict.fromkeys(ACTIONS, 0.5),
            "contacts": self.model.contacts(members),
            "answers": self.model.answers(members),
        }

    def move(self, moment):
        self.now = self.shop.now = moment

    def disturb(self):
        """From here on a slot may be gone that was reserved before."""
        self.unrest += 1

    @rule(name=SOMEBODY, most=MOST, only=SOME_ACTIONS, at_once=st.booleans(), jump=JUMPS)
    def decide_and_wait(self, name, most, only, at_once, jump):
        self.decide(name, most, None, only, at_once)
        self.wait(jump)

    @rule(name=SOMEBODY, most=MOST, late=CHOSEN_TIMES, only=SOME_ACTIONS, at_once=st.booleans())
    def decide(self, name, most, late, only, at_once):
        if late is not None:
            self.disturb()
        at = None if late is None else self.now + late
        answer = self.deciding(name, most, at, only, live=True)
        self.requests.append(answer.decision_id)
        ranks = range(1, len(answer.actions) + 1)
        for rank in ranks if at_once else ():
            self.claiming(self.model.offer(answer.decision_id, rank), "sender")
        assert self.refusal(answer.decision_id, len(ranks) + 1) == "DECISION_UNKNOWN"

    @rule(name=SOMEBODY, most=MOST, only=SOME_ACTIONS, data=st.data())
    def rehearse(self, name, most, only, data):
        ages = st.timedeltas(-timedelta(days=2), timedelta(days=40)).map(lambda age: self.now - age)
        moments = {at for offer in self.model.offers for at in slow_contact.times(offer).values() if at}
        edges = [st.sampled_from(sorted(moments))] if moments else []
        at = data.draw(st.one_of(st.just(self.now), ages, *edges))
        before = self.read(CUSTOMERS)
        answer = self.deciding(name, most, at, only, live=False)
        self.dry.append(answer.decision_id)
        assert self.read(CUSTOMERS) == before
        assert self.refusal(answer.decision_id, 1) == "DECISION_UNKNOWN"

    def deciding(self, name, most, at, only, *, live):
        only = [action_id for action_id in only if action_id in self.playbook["actions"]["actions"]]
        # Where the customer is for the moment is not where the calendar hangs.
        number = next(self.numbers)
        zone = "" if number % 3 else "Pacific/Kiritimati"
        asked = request(
            customer_id=name,
            at=at,
            max_actions=most,
            request_id=f"r{number}",
            mode=pb.DECISION_MODE_LIVE if live else pb.DECISION_MODE_DRY_RUN,
            include_explanation=True,
            action_ids=only,
            context={"time_zone": zone},
        )
        answer = self.run(self.shop.deciding(asked))
        assert self.run(self.shop.deciding(asked)) == answer
        asked = {"at": at or self.now, "context": {"time_zone": zone}, "max_actions": most, "arm": ""}
        if live:
            asked["now"] = self.now
        self.compare(answer, name, asked, only, live)
        self.remake(answer, live)
        return answer

    def compare(self, answer, name, asked, only, live):
        world, actions, at = self.world(name), self.playbook["actions"], asked["at"]
        if not live:
            world["contacts"] = slow_contact.known_at(world["contacts"], at)
            world["answers"] = [told for told in world["answers"] if told["at"] < at]
        if only:
            actions = actions | {"actions": {action_id: actions["actions"][action_id] for action_id in only}}
        ranked, worth, removed = slow.decide(self.playbook | {"actions": actions}, world, asked)
        found = [
            (one.action_id, one.treatment_id, one.not_before_time.ToDatetime(UTC)) for one in answer.actions
        ]
        assert found == ranked
        assert [one.priority for one in answer.actions] == pytest.approx(worth)
        assert {
            (one.action_id, one.treatment_id): (
                one.removed_stage,
                one.removed_rule if one.removed_stage != "consent" else None,
            )
            for one in answer.explanation.candidates
            if one.removed_stage
        } == removed
        ends = [None] * len(found)
        if live:
            owner = self.canonical[name]
            ends = self.model.promise(
                self.playbook, world, answer.decision_id, owner, ranked, asked, self.now
            )
            for offer in self.model.offers[len(self.model.offers) - len(ranked) :]:
                offer["unrest"] = self.unrest
        assert ends == [
            one.claim_by_time.ToDatetime(UTC) if one.HasField("claim_by_time") else None
            for one in answer.actions
        ]

    def remake(self, answer, live):
        """Make the decision again from its record alone."""
        logged = self.run(self.log.find(answer.decision_id, live)).record
        record = log_pb.DecisionRecord.FromString(logged)
        again = finished(remaking(self.shop.edition, finished(recalling(record, self.shop.edition))))
        encoded = ProtoEncoder(record.request, record.caller, *self.shop.edition).encode(
            again, record.record_time.ToDatetime(UTC)
        )
        assert to_bytes(encoded.response) == to_bytes(answer)
        assert to_bytes(log_pb.DecisionRecord.FromString(encoded.record)) == to_bytes(record)

    @precondition(lambda self: self.model.offers)
    @rule(which=st.integers(0, 5), claim_id=st.sampled_from(["", "sender", "other"]))
    def claim(self, which, claim_id):
        self.claiming(self.model.offers[-1 - which % len(self.model.offers)], claim_id)

    @rule(most=st.integers(1, 5))
    def claim_what_stands(self, most):
        standing = [offer for offer in self.model.offers if offer["claim"] is None and offer["taken"] is None]
        for offer in standing[-most:]:
            self.claiming(offer, "sender")

    def claiming(self, offer, claim_id):
        world = self.world(offer["customer"])
        was_claimed = offer["claim"] is not None
        expected = self.model.claim(self.playbook, world, offer, claim_id, self.now)
        if expected is None:
            assert self.refusal(offer["decision"], offer["rank"], claim_id) == "CLAIM_TOO_EARLY"
            return
        assert self.verdict(offer["decision"], offer["rank"], claim_id) == expected
        if was_claimed or offer["claim"] is None:
            return
        code, at, _ = expected
        assert self.verdict(offer["decision"], offer["rank"], claim_id) == (code, at, True)
        if not code:
            self.note_claim(offer)
        if code == "CONTACT_POLICY" and offer["unrest"] == self.unrest:
            self.check_that_something_else_forbids(world, offer)

    def verdict(self, decision_id, rank, claim_id):
        asked = pb.ClaimDeliveryRequest(decision_id=decision_id, rank=rank, claim_id=claim_id)
        told = self.run(self.shop.servicer.ClaimDelivery(asked, Call()))
        assert (told.verdict == pb.CLAIM_VERDICT_GO) == (not told.reason.code)
        return told.reason.code, told.claim_time.ToDatetime(UTC), told.is_repeat

    def refusal(self, decision_id, rank, claim_id=""):
        try:
            self.verdict(decision_id, rank, claim_id)
        except Fault as fault:
            return errors_pb2.ErrorReason.Name(fault.reason).removeprefix("ERROR_REASON_")
        raise AssertionError("a verdict where none can be")

    def note_claim(self, offer):
        """Check that no window holds more claims than a cap allows, since the rules are what they are."""
        owner = self.canonical[offer["customer"]]
        if offer["facts"] != self.facts_now(offer):
            return
        self.claimed.append((owner, offer["facts"], self.now))
        home = slow.home(self.playbook, self.attributes[owner])
        for cap in self.playbook["policies"]["caps"]:
            moments = sorted(
                at
                for other, facts, at in self.claimed
                if other == owner
                and slow_contact.is_about(cap, facts, "caps")
                and all(facts[name] == offer["facts"][name] for name in cap.get("each", ()))
            )
            if slow_contact.is_about(cap, offer["facts"], "caps"):
                assert most_at_once(cap["window"], moments, home) <= cap["most"]

    def facts_now(self, offer):
        action_id, treatment_id = offer["facts"]["treatment"].split("/")
        now = self.playbook["actions"]["actions"][action_id]
        return slow_contact.facts_of(action_id, now, treatment_id, now["treatments"][treatment_id])

    def check_that_something_else_forbids(self, world, offer):
        """A reserved slot is there: what refuses it is an answer of the customer, not a cap."""
        home = slow.home(self.playbook, world["attributes"])
        contacts = [contact for contact in world["contacts"] if contact is not offer]
        statements = self.playbook["policies"] | {"cool_downs": []}
        facts = offer["facts"]
        assert slow_contact.obstacle(statements, facts, contacts, (), self.now, home, taken_only=True) is None

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), size=st.integers(1, 3))
    def report(self, data, size):
        self.disturb()
        batch = [data.draw(st.sampled_from(["new", "new", "new", "again"])) for _ in range(size)]
        told = [self.outcome(data, is_again=one == "again") for one in batch]
        expected = [self.model.report(outcome_id, what, self.now) for outcome_id, what in told]
        before = sum(self.shop.unclaimed)
        results = self.run(
            self.shop.servicer.RecordOutcomes(
                pb.RecordOutcomesRequest(outcomes=[message(*one) for one in told]), Call()
            )
        ).results
        assert [named(result) for result in results] == [verdict for verdict, _ in expected]
        assert sum(self.shop.unclaimed) - before == sum(is_unclaimed for _, is_unclaimed in expected)

    def outcome(self, data, *, is_again):
        if is_again and self.model.outcomes:
            outcome_id = data.draw(st.sampled_from(sorted(self.model.outcomes)))
            told = self.model.outcomes[outcome_id]
            return outcome_id, data.draw(st.sampled_from([told, (*told[:3], told[3] - MICROSECOND, told[4])]))
        wanted = [rest["after"].upper() for rest in self.playbook["policies"]["cool_downs"]]
        kind = data.draw(st.sampled_from([*KINDS, *wanted * 4]))
        decision_id = data.draw(st.sampled_from([*self.requests[-5:], *self.dry[-1:], "never-made"]))
        late = st.timedeltas(timedelta(0), timedelta(days=40))
        age = data.draw(
            st.one_of(st.sampled_from([timedelta(0), timedelta(hours=1), -timedelta(minutes=5)]), late)
        )
        rank = data.draw(st.sampled_from([1, 1, 2, 3, 0 if kind == "OVERRIDDEN" else 1]))
        open_offers = [offer for offer in self.model.offers if offer["taken"] is None][-4:]
        if open_offers and data.draw(st.booleans()):
            offer = data.draw(st.sampled_from(open_offers))
            decision_id, rank = offer["decision"], offer["rank"]
        actor = "agent-7" if kind == "OVERRIDDEN" else ""
        return f"o{next(self.numbers)}", (decision_id, rank, kind, self.now - age, actor)

    @rule(jump=JUMPS)
    def wait(self, jump):
        if jump < timedelta(0):
            self.disturb()
        self.move(self.now + jump)

    @rule(
        which=st.integers(0, 7),
        edge=st.sampled_from([-MICROSECOND, timedelta(0), MICROSECOND]),
        name=SOMEBODY,
        only=SOME_ACTIONS,
        late=CHOSEN_TIMES,
    )
    def decide_at_an_edge(self, which, edge, name, only, late):
        homes = {name for owner in CUSTOMERS for name in slow.home(self.playbook, self.attributes[owner])}
        if moments := self.model.edges(self.playbook, sorted(homes), self.now):
            self.move(max(self.now, moments[which % min(8, len(moments))] + edge))
        self.decide(name, 4, late, only, at_once=True)

    @rule(name=SOMEBODY, only=SOME_ACTIONS, late=st.sampled_from([timedelta(0), MICROSECOND]))
    def decide_around_midnight(self, name, only, late):
        (home, *_) = slow.home(self.playbook, self.attributes[self.canonical[name]])
        midnight = slow_contact.first_minute(slow_contact.local_date(self.now, home) + timedelta(1), home)
        for moment in (midnight - MICROSECOND, midnight + late):
            self.move(max(self.now, moment))
            self.decide(name, 4, None, only, at_once=True)

    @rule(
        name=SOMEBODY,
        what=st.sampled_from(["mind", "mood", "home", "link", "unlink", "playbook"]),
        only=st.none() | SOME_ACTIONS,
        claimed=st.integers(0, 4),
        data=st.data(),
    )
    def change(self, name, what, only, claimed, data):
        if only is not None:
            self.decide(name, 4, None, only, at_once=False)
        getattr(self, f"change_{what}")(name, data.draw)
        self.refresh()
        if what not in ("mind", "mood"):
            self.begin_anew()
        if claimed:
            self.claim_what_stands(claimed)

    def refresh(self):
        """Put on file what is known by now."""
        self.shop.profiles.profiles = {name: self.profile(owner) for name, owner in self.canonical.items()}

    def change_mind(self, name, draw):
        ends = st.sampled_from([None, None, self.now + timedelta(hours=1), self.now + timedelta(days=2)])
        offered = [(one["facts"]["purpose"], one["facts"]["channel"]) for one in self.model.offers[-3:]]
        key = draw(st.sampled_from([*offered, *sorted(CONSENTS)]))
        self.consents[name] = self.consents[name] | {
            key: (draw(st.sampled_from(["granted", "denied"])), draw(ends))
        }

    def change_mood(self, name, draw):
        mood = {"member": draw(st.sampled_from([False, False, True])), "age": draw(st.sampled_from([7, 70]))}
        self.attributes[name] = self.attributes[name] | mood

    def change_home(self, name, draw):
        mood = {key: self.attributes[name][key] for key in ("member", "age")}
        self.attributes[name] = mood | draw(HOMES)

    def change_link(self, name, draw):
        merged = self.members(self.canonical[draw(st.sampled_from(CUSTOMERS))])
        self.canonical |= dict.fromkeys(merged, self.canonical[name])

    def change_unlink(self, name, draw):
        rest = [one for one in self.members(self.canonical[name]) if one != name]
        self.canonical |= {name: name} | dict.fromkeys(rest, rest[0] if rest else "")

    def change_playbook(self, name, draw):
        caps = [cap | {"most": draw(st.integers(1, 3))} for cap in self.playbook["policies"]["caps"]]
        actions, moved = dict(ACTIONS), draw(st.sampled_from(["", "apple", "cocoa"]))
        if draw(st.integers(0, 4)) == 0:
            del actions["berry"]
        if moved:
            group = "notices" if actions[moved]["group"] == "offers" else "offers"
            actions[moved] = actions[moved] | {"group": group}
        self.use(self.playbook["policies"] | {"caps": caps}, actions)

    def read(self, members):
        return self.run(self.log.ledger(members, LONG_AGO))

    @invariant()
    def the_ledger_holds_what_happened(self):
        for name in CUSTOMERS:
            ledger = self.read([name]).ledger
            assert Counter(
                (
                    f"{one.facts.action_id}/{one.facts.treatment_id}",
                    one.facts.group,
                    one.reserve_time,
                    one.expire_time,
                    one.consume_time,
                )
                for one in ledger.contacts
                if one.release_time is None
            ) == Counter(
                (
                    one["facts"]["treatment"],
                    one["facts"]["group"],
                    one["reserved"],
                    one["until"] if one["reserved"] else None,
                    one["taken"],
                )
                for one in self.model.contacts([name])
                if one["back"] is None
            )
            assert Counter((one.facts.action_id, one.kind, one.time) for one in ledger.responses) == Counter(
                (one["facts"]["action"], one["kind"], one["at"]) for one in self.model.answers([name])
            )


def most_at_once(window, moments, home):
    """Return the largest number of moments that one window holds."""
    if window not in ("day", "week", "month"):
        span = slow_contact.length(window)
        return max(sum(start <= at <= start + span for at in moments) for start in moments)
    days = [
        Counter(slow_contact.first_day(window, slow_contact.local_date(at, zone)) for at in moments)
        for zone in home
    ]
    return max(most for day in days for most in day.values())


def message(outcome_id, told):
    decision_id, rank, kind, at, actor = told
    return pb.Outcome(
        outcome_id=outcome_id,
        decision_id=decision_id,
        rank=rank,
        kind=f"OUTCOME_KIND_{kind}",
        outcome_time=instant(at),
        actor_id=actor,
    )


def named(result):
    if result.WhichOneof("result") == "error":
        return errors_pb2.ErrorReason.Name(result.error.reason).removeprefix("ERROR_REASON_")
    return "duplicate" if result.accepted.duplicate else "accepted"


class KioskOnSqlite(Kiosk):
    """The same on a file."""

    opened = staticmethod(sqlite)


class KioskOnPostgresql(Kiosk):
    """The same on a server."""

    opened = staticmethod(postgresql)


def running(machine, most):
    """Return the test of a machine with so many examples."""
    case = machine.TestCase
    case.settings = settings(max_examples=most, stateful_step_count=30)
    return case


TestKiosk = running(Kiosk, 60)
TestKioskOnSqlite = running(KioskOnSqlite, 6)
TestKioskOnPostgresql = running(KioskOnPostgresql, 4)
