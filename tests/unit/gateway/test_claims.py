"""A claim is judged by what is so at that moment, once, and never on a ledger that has moved on."""

import asyncio
import functools
import json
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deciding import DOWN, Shop, chosen, instant
from tact.decision.v1 import decision_service_pb2 as pb
from tact.errors.v1 import errors_pb2

from services.chassis.faults import Fault
from services.chassis.rpc import Call
from services.engine.features.feature_set import FeatureSet
from services.engine.features.schema import fingerprint
from services.engine.playbook.loader import load
from services.engine.policy.consent import Permission
from services.gateway.domain.knowledge import Model, Profile
from services.gateway.domain.making import Edition
from services.gateway.fakes import InMemoryFeatures, InMemoryLog, InMemoryProfiles, InMemoryScorer
from services.gateway.ports import NotLogged

NOW = datetime(2025, 5, 14, 9, 30, tzinfo=UTC)
MICROSECOND, HOUR, DAY = timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)
GRANTED = {("care", channel): Permission(granted=True) for channel in ("mail", "web")}
CAP = {"name": "weekly", "text": "One letter a week.", "most": 1, "window": "7d"}
REST = {"name": "rest", "text": "No means no.", "after": "rejected", "rest": "30d"}
NIGHT = {"name": "night", "text": "People sleep.", "from": "08:00", "to": "17:00"}


def action(channel="mail", **changes):
    treatments = {"one": {"channel": channel, "content": {"headline": "Hello"}}}
    return {"group": "offers", "purpose": "care", "value": 5, "treatments": treatments, **changes}


@functools.cache
def edition(written):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in json.loads(written).items():
            (Path(folder) / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")
        book = load(Path(folder))
    return Edition(book, FeatureSet(book))


def playbook(actions=None, context=("mood", "size"), **policies):
    """Return a playbook that offers a card, a notice that needs no consent, and a page."""
    attributes = {
        "mood": {"type": "integer", "provenance": "borrowed"},
        "size": {"type": "integer"},
    }
    files = {
        "playbook": {
            "name": "post",
            "time_zone": "UTC",
            "currency": "EUR",
            "purposes": {"care": {}},
            "channels": {"mail": {}, "web": {"inbound": True}},
            "context": {name: attributes[name] for name in context},
        },
        "profile": {"attributes": {"angry": {"type": "boolean"}, "done": {"type": "boolean"}}},
        "events": {"events": {"order": {}}},
        "features": {"features": {"orders": {"kind": "count", "event": "order"}}},
        "actions": {
            "groups": {"offers": {}},
            "actions": actions
            or {
                "card": action(stop_when="profile.done", expires_after="3d"),
                "notice": action(**{"class": "transactional"}),
                "page": action(channel="web"),
            },
        },
        "policies": {"suppression": [{"name": "angry", "text": "Let them be.", "when": "profile.angry"}]}
        | policies,
    }
    return edition(json.dumps(files))


CAPPED = {"caps": [CAP | {"each": ["action"]}], "claim_within": "1d"}


class Post:
    """A gateway that answers claims about ``anna``."""

    def __init__(self, made, log=None):
        layout = tuple(made.feature_set.layout(("orders",)))
        model = Model(
            version="1", fingerprint=fingerprint(layout), layout=layout, priors={}, overall_prior=0.5
        )
        self.shop = Shop(
            now=NOW,
            edition=made,
            log=InMemoryLog() if log is None else log,
            profiles=InMemoryProfiles(),
            features=InMemoryFeatures(customer={"orders": 1.0}),
            scorer=InMemoryScorer(model=model),
        )
        self.log = self.shop.log
        self.know()

    def know(self, permissions=GRANTED, **attributes):
        """Put on file what is known of the customer."""
        known = {"angry": False, "done": False} | attributes
        self.shop.profiles.profiles["anna"] = Profile(
            customer_id="anna",
            attributes={name: value for name, value in known.items() if value is not None},
            permissions=permissions,
        )

    def offer(self, action_id="card", request_id="", **fields):
        """Decide for one action, and return the answer."""
        answer = self.shop.decide(customer_id="anna", action_ids=[action_id], request_id=request_id, **fields)
        assert chosen(answer) == [(action_id, "one")]
        return answer

    def wait(self, length):
        self.shop.now += length

    def use(self, made):
        """Take another playbook into use."""
        self.shop.edition = made
        self.shop.restart()

    def claim(self, answer, claim_id="sender", rank=1):
        """Name the verdict."""
        return asyncio.run(self.claiming(answer.decision_id, rank, claim_id))

    async def claiming(self, decision_id, rank, claim_id):
        told = await self.asking(decision_id, rank, claim_id)
        assert (told.verdict == pb.CLAIM_VERDICT_GO) is (told.reason.code == "")
        return told.reason.code or "GO"

    async def asking(self, decision_id, rank, claim_id):
        asked = pb.ClaimDeliveryRequest(decision_id=decision_id, rank=rank, claim_id=claim_id)
        return await self.shop.servicer.ClaimDelivery(asked, Call(remaining=lambda: self.shop.remaining))

    def ask(self, answer, claim_id="sender", rank=1):
        """Return the whole answer to a claim."""
        return asyncio.run(self.asking(answer.decision_id, rank, claim_id))

    def refusal(self, decision_id, rank=1, claim_id="sender"):
        """Name the reason of a fault."""
        with pytest.raises(Fault) as raised:
            asyncio.run(self.claiming(decision_id, rank, claim_id))
        return errors_pb2.ErrorReason.Name(raised.value.reason).removeprefix("ERROR_REASON_")

    def report(self, answer, kind="DELIVERED", at=None):
        outcome = pb.Outcome(
            outcome_id=f"o-{len(self.log.outcomes)}",
            decision_id=answer.decision_id,
            rank=1,
            kind=f"OUTCOME_KIND_{kind}",
            outcome_time=instant(at or self.shop.now),
        )
        (result,) = self.shop.record(outcome)
        assert result.WhichOneof("result") == "accepted"

    def contact(self, answer):
        return self.log.standings[answer.decision_id, 1].contact


@pytest.fixture
def post():
    return Post(playbook(**CAPPED))


def test_go_takes_the_slot(post):
    answer = post.offer()
    post.wait(HOUR)
    told = post.ask(answer)
    assert told.verdict == pb.CLAIM_VERDICT_GO
    assert not told.HasField("reason")
    assert not told.is_repeat
    assert told.claim_time == instant(NOW + HOUR)
    assert post.contact(answer).consume_time == NOW + HOUR
    assert [claim.goes for claim in post.shop.claims] == [True]


def test_a_repeat_gets_its_verdict_again_whatever_happened_since(post):
    answer = post.offer()
    first = post.ask(answer)
    post.wait(9 * DAY)
    post.know(permissions={}, angry=True)
    post.use(playbook(actions={"page": action(channel="web")}))
    post.shop.profiles.failure = DOWN
    again = post.ask(answer)
    assert again == pb.ClaimDeliveryResponse(
        verdict=pb.CLAIM_VERDICT_GO, is_repeat=True, claim_time=first.claim_time
    )
    assert len(post.shop.claims) == 1


def test_another_sender_finds_it_claimed(post):
    answer = post.offer()
    assert post.claim(answer) == "GO"
    post.wait(HOUR)
    told = post.ask(answer, claim_id="")
    assert (told.reason.code, told.is_repeat) == ("ALREADY_CLAIMED", False)
    assert told.claim_time == instant(NOW)
    assert post.claim(answer) == "GO"


def test_a_cancellation_binds_every_sender(post):
    answer = post.offer()
    post.know(permissions={})
    assert post.claim(answer) == "NO_CONSENT"
    post.know()
    told = post.ask(answer, claim_id="other")
    assert (told.reason.code, told.is_repeat) == ("NO_CONSENT", True)


@pytest.mark.parametrize(("action_id", "kind"), [("card", "DELIVERED"), ("page", "VIEWED")])
def test_what_was_delivered_without_a_claim_cannot_be_claimed(post, action_id, kind):
    answer = post.offer(action_id)
    post.report(answer, kind, at=NOW + 7 * MICROSECOND)
    told = post.ask(answer)
    assert (told.reason.code, told.claim_time) == ("ALREADY_CLAIMED", instant(NOW + 7 * MICROSECOND))
    assert post.shop.claims == []


def test_a_cancelled_claim_gives_its_slot_back(post):
    answer = post.offer()
    assert chosen(post.shop.decide(customer_id="anna", action_ids=["card"])) == []
    post.know(done=True)
    assert post.claim(answer) == "POINTLESS"
    post.know()
    assert post.claim(post.offer()) == "GO"
    assert chosen(post.shop.decide(customer_id="anna", action_ids=["card"])) == []


@pytest.mark.parametrize(("early", "verdict"), [(MICROSECOND, "GO"), (0 * DAY, "EXPIRED"), (-DAY, "EXPIRED")])
def test_a_reservation_ends_before_its_last_moment(post, early, verdict):
    answer = post.offer()
    assert answer.actions[0].claim_by_time == instant(NOW + DAY)
    post.wait(DAY - early)
    assert post.claim(answer) == verdict


@pytest.mark.parametrize(("early", "verdict"), [(MICROSECOND, "GO"), (0 * DAY, "EXPIRED")])
def test_an_action_that_reserved_nothing_expires(early, verdict):
    post = Post(playbook())
    answer = post.offer()
    assert not answer.actions[0].HasField("claim_by_time")
    post.wait(3 * DAY - early)
    assert post.claim(answer) == verdict


@pytest.mark.parametrize(
    "permissions",
    [
        {},
        {("care", "mail"): Permission(granted=False)},
        {("care", "mail"): Permission(granted=True, expire_time=NOW + HOUR)},
        {("care", "web"): Permission(granted=True)},
    ],
    ids=["gone", "refused", "expired", "of another channel"],
)
def test_consent_is_asked_for_again(post, permissions):
    answers = post.offer(), post.offer("notice")
    post.wait(HOUR)
    post.know(permissions=permissions)
    assert [post.claim(answer) for answer in answers] == ["NO_CONSENT", "GO"]


def test_a_consent_that_ends_takes_the_reservation_with_it(post):
    post.know(permissions={("care", "mail"): Permission(granted=True, expire_time=NOW + HOUR)})
    answer = post.offer()
    assert answer.actions[0].claim_by_time == instant(NOW + HOUR)
    post.know()
    post.wait(HOUR)
    assert post.claim(answer) == "EXPIRED"


def test_what_has_expired_needs_nobody_to_say_so(post):
    answer = post.offer()
    post.wait(DAY)
    post.shop.profiles.failure = post.shop.features.failure = DOWN
    assert post.claim(answer) == "EXPIRED"


def test_who_is_not_on_file_any_more_gets_only_what_needs_no_consent(post):
    answers = post.offer(), post.offer("notice")
    post.shop.profiles.profiles.clear()
    assert [post.claim(answer) for answer in answers] == ["NO_CONSENT", "GO"]


@pytest.mark.parametrize("angry", [True, None], ids=["true", "undecided"])
def test_what_is_suppressed_by_now_does_not_go(post, angry):
    answers = post.offer(), post.offer("notice")
    post.know(angry=angry)
    told = post.ask(answers[0])
    assert told.reason.code == "SUPPRESSED"
    assert told.reason.text.startswith("Let them be.")
    assert post.claim(answers[1]) == "GO"


@pytest.mark.parametrize("done", [True, None], ids=["true", "undecided"])
def test_what_is_pointless_by_now_does_not_go(post, done):
    answers = post.offer(), post.offer("page")
    post.know(done=done)
    assert [post.claim(answer) for answer in answers] == ["POINTLESS", "GO"]


def test_a_cap_that_was_lowered_counts_what_was_taken():
    post = Post(playbook(caps=[CAP | {"most": 2}]))
    answers = [post.offer(), post.offer()]
    post.use(playbook(caps=[CAP]))
    assert [post.claim(answer) for answer in answers] == ["GO", "CONTACT_POLICY"]
    assert "1 of 1" in post.ask(answers[1]).reason.text


def test_a_cap_that_is_new_counts_what_was_taken_before():
    post = Post(playbook())
    answers = [post.offer(), post.offer(), post.offer("page")]
    assert post.claim(answers[0]) == "GO"
    post.use(playbook(**CAPPED))
    assert [post.claim(answer) for answer in answers[1:]] == ["CONTACT_POLICY", "GO"]


def test_a_delivery_without_a_claim_fills_a_cap():
    post = Post(playbook(caps=[CAP], claim_within="1d"))
    late = post.offer()
    post.wait(DAY)
    answer = post.offer()
    post.report(late)
    assert post.claim(answer) == "CONTACT_POLICY"


@pytest.mark.parametrize(("rested", "verdict"), [(MICROSECOND, "CONTACT_POLICY"), (0 * DAY, "GO")])
def test_a_rejection_since_the_decision_rests_its_like(rested, verdict):
    post = Post(playbook(cool_downs=[REST | {"rest": "1h"}]))
    before = post.offer()
    answer = post.offer()
    # What is dated before its decision counts from then on.
    post.report(before, "REJECTED", at=NOW - DAY)
    post.wait(HOUR - rested)
    assert post.claim(answer) == verdict


WITHDRAWALS = {
    "action": {"actions": {"page": action(channel="web")}},
    "treatment": {"actions": {"card": action() | {"treatments": {"two": action()["treatments"]["one"]}}}},
    "no longer live": {"actions": {"card": action(valid={"through": "2025-05-13"})}},
    "not yet live": {"actions": {"card": action(valid={"from": "2025-05-15"})}},
    "context": {"context": ("mood",)},
}


@pytest.mark.parametrize("changes", WITHDRAWALS.values(), ids=WITHDRAWALS)
def test_what_the_playbook_in_use_does_not_offer_does_not_go(post, changes):
    answer = post.offer(context={"attributes": {"size": 3}})
    post.use(playbook(**CAPPED, **changes))
    assert post.claim(answer) == "WITHDRAWN"
    post.use(playbook(**CAPPED))
    assert post.claim(answer) == "WITHDRAWN"


def test_what_the_playbook_in_use_offers_otherwise_is_judged_otherwise(post):
    answer = post.offer()
    post.know(done=True, permissions={})
    post.use(playbook(**CAPPED, actions={"card": action(**{"class": "mandatory"})}))
    assert post.claim(answer) == "GO"


def test_too_early_takes_nothing():
    post = Post(playbook(**CAPPED, quiet_hours=[NIGHT]))
    answer = post.offer()
    assert answer.actions[0].not_before_time == instant(NOW.replace(hour=17, minute=0))
    post.wait(timedelta(hours=7, minutes=30) - MICROSECOND)
    assert post.refusal(answer.decision_id) == "CLAIM_TOO_EARLY"
    assert post.contact(answer).consume_time is None
    post.wait(MICROSECOND)
    assert post.claim(answer) == "GO"


def test_only_ranks_of_live_decisions_can_be_claimed(post):
    answer = post.offer()
    dry = post.shop.decide(customer_id="anna", mode=pb.DECISION_MODE_DRY_RUN, action_ids=["page"])
    assert chosen(dry)
    unknown = [(answer.decision_id, 2), (dry.decision_id, 1), ("d-0", 1)]
    assert [post.refusal(*one) for one in unknown] == ["DECISION_UNKNOWN"] * 3
    assert post.log.versions == {"anna": 1}


def test_every_fault_of_a_claim_is_told(post):
    with pytest.raises(Fault) as raised:
        asyncio.run(post.asking("", 0, "x" * 129))
    assert [violation.field for violation in raised.value.violations] == ["decision_id", "claim_id", "rank"]


DEGRADED = [
    ("profiles", "card", "DEPENDENCY_UNAVAILABLE"),
    ("features", "card", "DEPENDENCY_UNAVAILABLE"),
    ("profiles", "notice", "GO"),
    ("features", "notice", "GO"),
    ("scorer", "card", "GO"),
    ("scorer", "notice", "GO"),
]


@pytest.mark.parametrize(("lost", "action_id", "expected"), DEGRADED)
def test_what_cannot_be_checked_may_be_asked_again(post, lost, action_id, expected):
    answer = post.offer(action_id)
    reader = getattr(post.shop, lost)
    reader.failure = DOWN
    if expected == "GO":
        assert post.claim(answer) == "GO"
        return
    assert post.refusal(answer.decision_id) == expected
    assert (post.contact(answer).consume_time, post.shop.claims) == (None, [])
    reader.failure = None
    assert post.claim(answer) == "GO"


def test_what_needs_no_consent_is_capped_without_a_profile_too():
    cap = CAP | {"applies_to": {"actions": ["notice"]}}
    post = Post(playbook(caps=[cap | {"most": 2}]))
    answers = [post.offer("notice"), post.offer("notice")]
    post.use(playbook(caps=[cap]))
    post.shop.profiles.failure = DOWN
    assert [post.claim(answer) for answer in answers] == ["GO", "CONTACT_POLICY"]


def test_a_condition_without_its_value_stops_what_needs_no_consent_only_where_all_could_be_read():
    statement = {
        "name": "angry",
        "text": "Let them be.",
        "when": "profile.angry",
        "applies_to": {"groups": ["offers"]},
    }
    post = Post(playbook(suppression=[statement]))
    answers = [post.offer("notice"), post.offer("notice")]
    post.shop.profiles.failure = DOWN
    assert post.claim(answers[0]) == "GO"
    post.shop.profiles.failure = None
    post.know(angry=None)
    assert post.claim(answers[1]) == "SUPPRESSED"


def moody(when):
    return [{"name": "mood", "text": "A bad day.", "when": when}]


@pytest.mark.parametrize(
    "when", ["context.mood > 5", "!known.context.mood", "profile.angry || context.mood > 5"]
)
def test_a_borrowed_value_of_the_request_is_remembered_by_its_verdict(when):
    post = Post(playbook(**CAPPED, suppression=moody(when)))
    answer = post.offer(context={"attributes": {"mood": 3}})
    assert post.claim(answer) == "GO"


def test_a_new_condition_on_a_borrowed_value_of_the_request_stays_undecided():
    post = Post(playbook(**CAPPED, suppression=moody("context.mood > 5")))
    answer = post.offer(context={"attributes": {"mood": 3}})
    post.use(playbook(**CAPPED, suppression=moody("context.mood > 6")))
    assert post.claim(answer) == "SUPPRESSED"


def test_values_of_the_request_that_are_not_borrowed_are_seen_again():
    post = Post(playbook(**CAPPED))
    answer = post.offer(context={"attributes": {"size": 3}})
    post.use(playbook(**CAPPED, suppression=moody("context.size < 3")))
    assert post.claim(answer) == "GO"


def test_a_full_queue_takes_nothing(post):
    answer = post.offer()
    post.log.queued = post.log.queue_limit
    assert post.refusal(answer.decision_id) == "OVERLOADED"
    post.log.queued = 0
    assert post.claim(answer) == "GO"


def test_a_dead_store_takes_nothing(post):
    answer = post.offer()
    post.log.failure = NotLogged("disk is full")
    assert post.refusal(answer.decision_id) == "STORE_UNAVAILABLE"
    post.log.failure = None
    assert post.contact(answer).consume_time is None
    assert post.claim(answer) == "GO"


class Busy(InMemoryLog):
    """A log in which something else happens once: before the call that ``before`` names.

    What comes ``next`` after the ledger was read is anything.
    """

    meanwhile = None
    before = ""

    async def ledger(self, members, since):
        await self._first("ledger")
        reading = await super().ledger(members, since)
        await self._first("next")
        return reading

    async def standing(self, decision_id, rank):
        await self._first("standing")
        return await super().standing(decision_id, rank)

    async def claim(self, decision_id, rank, claim, versions, valid_until):
        await self._first("claim")
        return await super().claim(decision_id, rank, claim, versions, valid_until)

    async def _first(self, name):
        if name == self.before:
            self.before = ""
            await self.meanwhile()


EACH_MOMENT = pytest.mark.parametrize("before", ["standing", "ledger", "next", "claim"])


@EACH_MOMENT
def test_a_claim_that_comes_between_is_counted(before):
    post = Post(playbook(caps=[CAP | {"most": 2}]), Busy())
    ours, theirs = post.offer(), post.offer()
    post.use(playbook(caps=[CAP]))
    verdicts = []

    async def claim_theirs():
        verdicts.append(await post.claiming(theirs.decision_id, 1, "other"))

    post.log.meanwhile, post.log.before = claim_theirs, before
    assert [post.claim(ours), *verdicts] == ["CONTACT_POLICY", "GO"]


@EACH_MOMENT
def test_of_two_senders_one_goes(post, before):
    post = Post(playbook(**CAPPED), Busy())
    answer = post.offer()
    verdicts = []

    async def claim_first():
        verdicts.append(await post.claiming(answer.decision_id, 1, "other"))

    post.log.meanwhile, post.log.before = claim_first, before
    assert [post.claim(answer), *verdicts] == ["ALREADY_CLAIMED", "GO"]
    assert len(post.shop.claims) == 1


@EACH_MOMENT
def test_one_sender_that_asks_twice_at_once_hears_the_same(post, before):
    post = Post(playbook(**CAPPED), Busy())
    answer = post.offer()
    told = []

    async def claim_first():
        told.append(await post.asking(answer.decision_id, 1, "sender"))

    post.log.meanwhile, post.log.before = claim_first, before
    told.append(post.ask(answer))
    assert [one.verdict for one in told] == [pb.CLAIM_VERDICT_GO] * 2
    assert told[0].claim_time == told[1].claim_time


@EACH_MOMENT
def test_a_delivery_that_comes_between_leaves_nothing_to_claim(before):
    post = Post(playbook(**CAPPED), Busy())
    answer = post.offer()

    async def deliver():
        outcome = pb.Outcome(
            outcome_id="o-1",
            decision_id=answer.decision_id,
            rank=1,
            kind=pb.OUTCOME_KIND_DELIVERED,
            outcome_time=instant(NOW),
        )
        await post.shop.servicer.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=[outcome]), Call())

    post.log.meanwhile, post.log.before = deliver, before
    assert post.claim(answer) == "ALREADY_CLAIMED"
    assert post.contact(answer).consume_time == NOW
    assert post.shop.claims == []


@pytest.mark.parametrize("before", ["standing", "claim"])
def test_another_playbook_that_comes_between_is_the_judge_of_a_second_try(before):
    post = Post(playbook(caps=[CAP | {"most": 2}]), Busy())
    ours, theirs = post.offer(), post.offer()

    async def edit_and_claim():
        decide = post.shop.editions.current
        stricter = playbook(caps=[CAP])
        post.shop.editions.take(
            "stricter", replace(decide, playbook=stricter.playbook, feature_set=stricter.feature_set)
        )
        await post.claiming(theirs.decision_id, 1, "other")

    post.log.meanwhile, post.log.before = edit_and_claim, before
    assert post.claim(ours) == "CONTACT_POLICY"


def test_a_crowd_gets_as_many_slots_as_there_are():
    post = Post(playbook(caps=[CAP | {"most": 9}]))
    answers = [post.offer() for _ in range(9)]
    post.use(playbook(caps=[CAP | {"most": 4}]))

    async def main():
        return await asyncio.gather(*(post.claiming(one.decision_id, 1, "") for one in answers))

    verdicts = asyncio.run(main())
    assert (verdicts.count("GO"), verdicts.count("CONTACT_POLICY")) == (4, 5)


def test_a_claim_about_a_merged_customer_counts_the_contacts_of_all():
    post = Post(playbook(**CAPPED))
    answer = post.offer()
    post.shop.profiles.profiles["ben"] = replace(
        post.shop.profiles.profiles["anna"], customer_id="ben", members=("ben",)
    )
    other = post.shop.decide(customer_id="ben", action_ids=["card"])
    assert post.claim(other) == "GO"
    merged = replace(post.shop.profiles.profiles["anna"], members=("anna", "ben"))
    post.shop.profiles.profiles = {"anna": merged, "ben": merged}
    assert post.claim(answer) == "CONTACT_POLICY"
    assert post.log.versions["ben"] > 2
