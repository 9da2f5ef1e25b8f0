"""ReplayDecision runs the pipeline on a record, and tells what comes out otherwise."""

import asyncio
import copy
import random
import struct
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import bazaar
import pytest
import slow_contact
from deciding import ANNA, DOWN, Shop, like_it, model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb
from test_decide_safety import SCENES, eased, scenes, write
from test_decide_safety import answer as scene_answer

from services.chassis.faults import Fault
from services.chassis.rpc import Call
from services.engine.features.feature_set import FeatureSet
from services.engine.policy.consent import Permission
from services.gateway.adapters.differences import differences
from services.gateway.adapters.replica import ProtoReplica
from services.gateway.adapters.sealing import seal_of, sealed
from services.gateway.domain.knowledge import Cause, Unavailable
from services.gateway.domain.making import Edition
from services.gateway.ports import NotLogged
from services.gateway.remakes import Remakes
from services.gateway.replays import UNSEALED, Replays

DRY = "DECISION_MODE_DRY_RUN"
MODES = ["DECISION_MODE_LIVE", DRY]


@pytest.fixture
def shop():
    return Shop()


def verdict(replay):
    """Name the verdict of an answer."""
    return pb.ReplayVerdict.Name(replay.verdict).removeprefix("REPLAY_VERDICT_")


def told(replay):
    """Return the differences of an answer."""
    return [(one.field, one.recorded, one.replayed) for one in replay.differences]


def entry_of(shop, answer):
    return next(one for one in shop.log.entries.values() if one.decision_id == answer.decision_id)


def records_of(shop, answer):
    return log_pb.DecisionRecord.FromString(entry_of(shop, answer).record)


def store(shop, answer, record):
    """Put other bytes in the place of a record."""
    entry = entry_of(shop, answer)
    shop.log.entries[entry.live, entry.decision_id] = replace(entry, record=record)


def forge(shop, answer, change):
    """Change a record and seal it anew, as a forger would."""
    record = log_pb.DecisionRecord.FromString(entry_of(shop, answer).record)
    record.ClearField("digest")
    change(record)
    store(shop, answer, sealed(record.SerializeToString(deterministic=True)))


def forget(shop):
    """Make everything but the log unreadable."""
    shop.profiles.failure = shop.features.failure = shop.scorer.failure = DOWN
    shop.restart()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("explained", [False, True])
def test_a_replay_needs_nothing_but_the_record(shop, mode, explained):
    answer = shop.decide(mode=mode, include_explanation=explained)
    assert answer.actions
    forget(shop)
    shop.now += timedelta(days=400)
    replay = shop.replay(answer.decision_id)
    assert replay == pb.ReplayDecisionResponse(verdict="REPLAY_VERDICT_IDENTICAL")


def test_the_sequence_of_features_is_on_record_and_an_altered_one_is_told(shop):
    shop.features.sequence = 23
    answer = shop.decide()
    assert records_of(shop, answer).feature_sequence == 23
    forge(shop, answer, lambda record: setattr(record, "feature_sequence", 24))
    assert told(shop.replay(answer.decision_id)) == [("as_of_sequence", "23", "24")]


def test_last_good_features_keep_their_own_sequence(shop):
    shop.features.sequence = 23
    shop.decide()
    shop.features.sequence, shop.features.failure = 24, DOWN
    answer = shop.decide()
    assert records_of(shop, answer).feature_sequence == 23
    assert verdict(shop.replay(answer.decision_id)) == "IDENTICAL"


def test_a_record_of_before_the_sequence_was_written_replays_identical(shop):
    answer = shop.decide(include_explanation=True)
    forge(shop, answer, lambda record: record.ClearField("feature_sequence"))
    assert not records_of(shop, answer).feature_sequence
    assert verdict(shop.replay(answer.decision_id)) == "IDENTICAL"


def decided(seed, head, change=lambda shop: None):
    """Let a bazaar decide in a world of its own, changed at the end; return the shop and the answer."""
    rng = random.Random(f"replay {head} {seed}")
    shop = bazaar.shop(rng, head)
    if rng.random() < 0.6:
        asyncio.run(shop.deciding(bazaar.request(rng, shop)))
        shop.now += timedelta(minutes=rng.randrange(60))
    bazaar.break_something(rng, shop)
    asked = bazaar.request(rng, shop)
    asked.request_id = asked.request_id or f"given-{seed}"
    change(shop)
    return shop, asyncio.run(shop.deciding(asked))


HEADS = st.integers(0, len(bazaar.HEADS) - 1)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 10**6), HEADS, st.booleans())
def test_every_decision_replays_identical(seed, head, rescore):
    shop, answer = decided(seed, head)
    shop.scorer.failure = None
    replay = shop.replay(answer.decision_id, rescore=rescore)
    assert (verdict(replay), told(replay), list(replay.missing)) == ("IDENTICAL", [], [])
    assert replay.HasField("score_difference") is (rescore and bool(answer.model_version))


def replayed_alone(scene, answer, record):
    """Replay a record of a generated playbook without any gateway."""
    with tempfile.TemporaryDirectory() as folder:
        book = write(Path(folder), scene["playbook"])

    async def edition(version):
        return Edition(book, FeatureSet(book)) if version == book.version else None

    async def pause():
        return None

    replays = Replays(remakes=Remakes(edition=edition, pause=pause), seal=seal_of, recall=ProtoReplica)
    return asyncio.run(replays.replay(answer.decision_id, record, None, lambda: None))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(SCENES)
def test_every_decision_by_any_playbook_replays_identical(scene):
    answer, record = scene_answer(scene)
    replay = replayed_alone(scene, answer, record)
    assert (replay.verdict, replay.differences, replay.missing) == ("IDENTICAL", [], [])


def deny(shop, purpose):
    (customer_id,) = shop.profiles.profiles
    profile = shop.profiles.profiles[customer_id]
    permissions = {
        pair: Permission(granted=False) if pair[0] == purpose else permission
        for pair, permission in profile.permissions.items()
    }
    shop.profiles.profiles[customer_id] = replace(profile, permissions=permissions)


def deny_on_record(record, purpose):
    for consent in record.profile.consents:
        if consent.purpose == purpose:
            consent.state = "CONSENT_STATE_DENIED"
            consent.ClearField("expire_time")


def age(shop, years):
    (customer_id,) = shop.profiles.profiles
    profile = shop.profiles.profiles[customer_id]
    if "age" in profile.attributes:
        attributes = dict(profile.attributes) | {"age": years}
        shop.profiles.profiles[customer_id] = replace(profile, attributes=attributes)


def age_on_record(record, years):
    if "age" in record.profile.attributes:
        record.profile.attributes["age"].value.number_value = years


def spend(shop, amount):
    """Change a feature; what is remembered of the customer's last visit too."""
    shop.features.customer = dict(shop.features.customer) | {"spend": amount, "visits": amount}
    for customer_id, features in shop.last_good._features.items():
        customer = dict(features.customer) | {"spend": amount, "visits": amount}
        shop.last_good._features[customer_id] = replace(features, customer=customer)


def spend_on_record(record, amount):
    names = FeatureSet(bazaar.edition(0).playbook).customer_names
    numbers = list(struct.unpack(f"<{len(record.feature_vector) // 8}d", record.feature_vector))
    # What lacks a consent was missing to the decision, and would be in a world where it is otherwise.
    denied = any(c.purpose == "insight" and c.state != 1 for c in record.profile.consents)
    granted = any(c.purpose == "insight" for c in record.profile.consents) and not denied
    for name in ("spend", "visits") if numbers else ():
        if name == "spend" or granted:
            numbers[names.index(name)] = amount
    record.feature_vector = struct.pack(f"<{len(numbers)}d", *numbers)


def halve(shop):
    score = shop.scorer.score_row
    shop.scorer.score_row = lambda customer, row: score(customer, row) / 2


def halve_on_record(record):
    for candidate in record.candidates if record.response.model_version else ():
        if candidate.HasField("propensity"):
            candidate.propensity /= 2


CHANGES = {
    "a consent": (lambda shop: deny(shop, "marketing"), lambda record: deny_on_record(record, "marketing")),
    "a consent to data": (
        lambda shop: deny(shop, "insight"),
        lambda record: deny_on_record(record, "insight"),
    ),
    "an attribute": (lambda shop: age(shop, 16), lambda record: age_on_record(record, 16)),
    "a feature": (lambda shop: spend(shop, 8.25), lambda record: spend_on_record(record, 8.25)),
    "the scores": (halve, halve_on_record),
}


def always(shop):
    """Score all alike, whatever a model is shown, that is known before it is asked."""
    shop.scorer.score_row = lambda customer, row: 0.37
    if shop.scorer.failure is None:
        asyncio.run(shop.model.refresh(1.0))


@pytest.mark.parametrize("name", CHANGES)
def test_an_altered_input_replays_as_the_pipeline_decides_on_it(name):
    """The world is changed in the same way, and decides; both must differ from the record alike."""
    in_world, on_record = CHANGES[name]
    of_answer = {field.name for field in pb.DecideResponse.DESCRIPTOR.fields} - {"explanation"}
    seen = Counter()
    for seed in range(120):
        head = seed % len(bazaar.HEADS)
        shop, answer = decided(seed, head, always)
        _, otherwise = decided(seed, head, lambda shop: (always(shop), in_world(shop)))
        forge(shop, answer, on_record)
        replay = shop.replay(answer.decision_id)
        for one in (answer, otherwise):
            for field in ("timings", "total_duration", "explanation"):
                one.ClearField(field)
        expected = [(one.field, one.recorded, one.replayed) for one in differences(answer, otherwise, 0.0)]
        found = [one for one in told(replay) if one[0].partition(".")[0].partition("[")[0] in of_answer]
        assert found == expected, seed
        assert not expected or verdict(replay) == "DIFFERENT"
        seen[bool(expected)] += 1
    assert min(seen[True], seen[False]) > 5


ALPHA = {"group": "offers", "class": "standard", "purpose": "marketing"}


def capped(scene):
    """Cap a scene at one contact in thirty days, of which there was none yet."""
    cap = {"name": "one", "text": "Enough.", "most": 1, "window": "30d", "applies_to": {}}
    policies = scene["playbook"]["policies"] | {"caps": [cap], "precedence": []}
    return scene | {
        "playbook": scene["playbook"] | {"policies": policies},
        "world": scene["world"] | {"ledger": []},
        "down": (),
    }


def contacted(scene):
    """Return a scene in which the customer was contacted before."""
    contact = {
        "facts": slow_contact.facts_of("alpha", ALPHA, "t0", {"channel": "sms"}),
        "reserved": None,
        "back": None,
        "until": None,
        "member": "",
        "answers": [],
        "taken": scene["asked"]["at"] - timedelta(days=9),
    }
    return scene | {"world": scene["world"] | {"ledger": [contact]}}


def test_a_contact_put_on_record_replays_as_the_pipeline_decides_after_it():
    """What caps count is an input like any other."""
    seen = Counter()

    @settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], deadline=None, derandomize=True)
    @given(scenes().map(eased).map(capped))
    def check(scene):
        answer, record = scene_answer(scene)
        otherwise, after_contact = scene_answer(contacted(scene))
        parsed = log_pb.DecisionRecord.FromString(record)
        parsed.ledger.CopyFrom(log_pb.DecisionRecord.FromString(after_contact).ledger)
        parsed.ClearField("digest")
        for one in (answer, otherwise, parsed.response):
            one.ClearField("explanation")
        replay = replayed_alone(scene, answer, sealed(parsed.SerializeToString(deterministic=True)))
        for one in (answer, otherwise):
            for field in ("timings", "total_duration"):
                one.ClearField(field)
        expected = list(differences(answer, otherwise, 0.0))
        assert list(replay.differences)[: len(expected)] == expected
        seen[bool(expected)] += 1

    check()
    assert seen[True] > 5


def test_a_record_that_was_damaged_is_worth_nothing(shop):
    answer = shop.decide()
    record = entry_of(shop, answer).record
    for place in range(0, len(record), 37):
        store(shop, answer, record[:place] + bytes([record[place] ^ 4]) + record[place + 1 :])
        assert shop.replay(answer.decision_id) == pb.ReplayDecisionResponse(
            verdict="REPLAY_VERDICT_DIFFERENT", is_damaged=True
        )


def test_a_record_without_a_digest_proves_nothing(shop):
    answer = shop.decide()
    store(shop, answer, entry_of(shop, answer).record[:-35])
    replay = shop.replay(answer.decision_id)
    assert (verdict(replay), list(replay.missing), replay.is_damaged) == ("IMPOSSIBLE", [UNSEALED], False)


def test_what_differs_does_so_without_a_digest_too(shop):
    answer = shop.decide()
    record = log_pb.DecisionRecord.FromString(entry_of(shop, answer).record)
    record.ClearField("digest")
    record.response.actions[0].selection_probability = 0.5
    store(shop, answer, record.SerializeToString())
    replay = shop.replay(answer.decision_id)
    assert (verdict(replay), list(replay.missing)) == ("DIFFERENT", [UNSEALED])
    assert told(replay) == [("actions[0].selection_probability", "0.5", "1.0")]


@pytest.mark.parametrize("content", [b"", b"no record"])
def test_what_is_no_record_cannot_be_replayed(shop, content):
    answer = shop.decide()
    store(shop, answer, sealed(content))
    replay = shop.replay(answer.decision_id)
    missing = "playbook version  is not held" if not content else "the record cannot be read"
    assert (verdict(replay), list(replay.missing)) == ("IMPOSSIBLE", [missing])


def impossible(shop, answer, **fields):
    """Return what is missing for a replay."""
    replay = shop.replay(answer.decision_id, **fields)
    assert (verdict(replay), told(replay)) == ("IMPOSSIBLE", [])
    (missing,) = replay.missing
    return missing


def test_a_playbook_that_is_not_at_hand_is_named(shop):
    answer = shop.decide()
    shop.edition = Edition(replace(shop.edition.playbook, version="newer"), shop.edition.feature_set)
    shop.restart()
    assert impossible(shop, answer) == f"playbook version {answer.playbook_version} is not held"


def test_features_of_another_layout_are_named(shop):
    answer = shop.decide()
    forge(shop, answer, lambda record: setattr(record, "feature_fingerprint", "other"))
    here = shop.edition.feature_set.served_fingerprint
    expected = f"the features on record are of layout other, here they are of {here}"
    assert impossible(shop, answer) == expected


def test_a_request_that_is_wrong_by_now_is_named(shop):
    answer = shop.decide()
    forge(shop, answer, lambda record: setattr(record.request.context, "channel", "pigeon"))
    expected = "the request on record is not valid any more: context.channel: not in the playbook"
    assert impossible(shop, answer) == expected


def out_of_shape(record):
    record.feature_vector += b"8 bytes."


def of_nobody(record):
    record.profile.attributes["wings"].value.number_value = 2


def out_of_time(record):
    record.response.decision_time.seconds = 10**15


@pytest.mark.parametrize("change", [out_of_shape, of_nobody, out_of_time])
def test_a_record_that_says_what_cannot_be_is_no_crash(shop, change):
    answer = shop.decide()
    forge(shop, answer, change)
    assert impossible(shop, answer).startswith("the record says something that cannot be: ")


def test_vectors_that_are_none_are_no_crash(shop):
    answer = shop.decide()
    forge(shop, answer, lambda record: setattr(record, "customer_vector", b"odd"))
    missing = impossible(shop, answer, rescore=True)
    assert missing == "the record cannot be made a decision of: ValueError"


def test_a_record_of_another_decision_is_found_out(shop):
    answer, other = shop.decide(request_id="a-1"), shop.decide(request_id="a-2")
    store(shop, answer, entry_of(shop, other).record)
    replay = shop.replay(answer.decision_id)
    assert verdict(replay) == "DIFFERENT"
    assert told(replay) == [("decision_id", answer.decision_id, other.decision_id)]


def first(record):
    return record.response.actions[0]


ALTERED = {
    "caller": (lambda r: setattr(r, "caller", "mallory"), "decision_id"),
    "level": (lambda r: setattr(r.response, "served_by", "SERVED_BY_PRIORS"), "served_by"),
    "stale": (lambda r: setattr(r.response, "served_by", "SERVED_BY_LAST_GOOD_FEATURES"), "served_by"),
    "answer": (lambda r: setattr(first(r), "action_id", "wine-coupon"), "actions[0].action_id"),
    "nearly nothing": (
        lambda r: setattr(first(r), "selection_probability", 1.0 - 1e-12),
        "actions[0].selection_probability",
    ),
    "text": (lambda r: first(r).content.update(headline="Buy!"), "actions[0].content[headline]"),
    "reason": (lambda r: setattr(first(r).reasons[0], "text", "So."), "actions[0].reasons[0].text"),
    "arm": (lambda r: setattr(r.response, "control_arm", "hold_out"), "control_arm"),
    "share": (lambda r: setattr(r, "control_arm_share", 0.5), "control_arm_share"),
    "removal": (lambda r: setattr(r.candidates[0], "removed_rule", "of_age"), "candidates[0].removed_rule"),
    "chance": (
        lambda r: setattr(r.candidates[-1], "rank_one_probability", 0.5),
        "candidates[7].rank_one_probability",
    ),
    "lost candidate": (lambda r: r.candidates.pop(), "candidates[7]"),
    "trace": (
        lambda r: setattr(r.response.explanation.candidates[0], "removed_text", "No."),
        "explanation.candidates[0].removed_text",
    ),
    "lost trace": (
        lambda r: r.response.explanation.candidates.pop(),
        "explanation.candidates[7]",
    ),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_output_is_told_by_its_field(shop, name):
    change, field = ALTERED[name]
    answer = shop.decide(include_explanation=True, max_actions=2)
    forge(shop, answer, change)
    replay = shop.replay(answer.decision_id)
    assert verdict(replay) == "DIFFERENT"
    assert field in [one.field for one in replay.differences]


def test_an_altered_base_rate_or_score_by_one_is_told(shop):
    """What was decided by base rates has no scores of its own."""
    shop.scorer.failure = DOWN
    shop.log.model = model()
    answer = shop.decide()
    scored = next(n for n, c in enumerate(records_of(shop, answer).candidates) if c.HasField("propensity"))
    forge(shop, answer, lambda record: setattr(record.candidates[scored], "propensity", 0.9))
    assert f"candidates[{scored}].propensity" in [
        field for field, _, _ in told(shop.replay(answer.decision_id))
    ]
    forge(shop, answer, lambda record: setattr(record.candidates[scored], "prior", 0.9))
    assert verdict(shop.replay(answer.decision_id)) == "DIFFERENT"


def test_a_trace_that_the_log_had_no_room_for_is_not_missed(shop):
    shop.log.queued, shop.log.queue_limit = 6, 10
    answer = shop.decide(include_explanation=True)
    assert b"explanation" not in entry_of(shop, answer).record
    assert verdict(shop.replay(answer.decision_id)) == "IDENTICAL"


def test_a_field_that_is_not_known_here_is_a_difference(shop):
    answer = shop.decide()
    record = entry_of(shop, answer).record[:-35]
    store(shop, answer, sealed(record + b"\xc2\x3e\x02hi"))
    replay = shop.replay(answer.decision_id)
    assert verdict(replay) == "DIFFERENT"
    assert told(replay) == [("", "fields that this version of Tact does not know", "")]


def test_of_very_many_differences_the_first_are_told(shop):
    answer = shop.decide()

    def add(record):
        for number in range(150):
            record.response.reasons.add(code=str(number))

    forge(shop, answer, add)
    replay = shop.replay(answer.decision_id)
    assert [one.field for one in replay.differences] == [f"reasons[{number}]" for number in range(100)]


def test_new_scores_of_the_same_model_make_the_same_decision(shop):
    answer = shop.decide()
    assert shop.replay(answer.decision_id, rescore=True) == pb.ReplayDecisionResponse(
        verdict="REPLAY_VERDICT_IDENTICAL", score_difference=0.0
    )
    scored, again = shop.scorer.batches
    assert [one.tobytes() for one in again] == [one.tobytes() for one in scored]


@pytest.mark.parametrize(("change", "expected"), [(5e-11, "IDENTICAL"), (2e-9, "DIFFERENT")])
@pytest.mark.parametrize("explained", [False, True])
def test_new_scores_may_differ_by_a_billionth(shop, change, expected, explained):
    answer = shop.decide(include_explanation=explained)
    shop.scorer.score_row = lambda customer, row: like_it(customer, row) + change
    replay = shop.replay(answer.decision_id, rescore=True)
    assert replay.score_difference == pytest.approx(change, rel=1e-5)
    assert verdict(replay) == expected
    if expected == "DIFFERENT":
        assert "actions[0].propensity" in [one.field for one in replay.differences]


def test_a_score_that_was_altered_shows_where_scores_are_made_anew(shop):
    answer = shop.decide()

    def improve(record):
        for candidate in record.candidates:
            if candidate.action_id == "survey":
                candidate.propensity = 0.75

    forge(shop, answer, improve)
    replay = shop.replay(answer.decision_id, rescore=True)
    assert replay.score_difference == pytest.approx(0.35)
    assert [one.field for one in replay.differences if "propensity" in one.field] == [
        "candidates[3].propensity"
    ]


def test_what_the_model_was_shown_is_held_to_the_features_where_scores_are_made_anew(shop):
    """The layout of what a model is shown is the model's, so only with it this can be told."""
    answer = shop.decide()

    def spend_more(record):
        at = shop.edition.feature_set.customer_names.index("spend_30d") * 8
        vector = record.feature_vector
        record.feature_vector = vector[:at] + struct.pack("<d", 999.0) + vector[at + 8 :]

    forge(shop, answer, spend_more)
    assert verdict(shop.replay(answer.decision_id)) == "IDENTICAL"
    replay = shop.replay(answer.decision_id, rescore=True)
    assert verdict(replay) == "DIFFERENT"
    assert told(replay) == [("customer_vector[0]", "120.5", "999.0")]


def test_another_model_makes_no_new_scores(shop):
    answer = shop.decide()
    shop.scorer.model = model(version="2")
    assert impossible(shop, answer, rescore=True) == "model version 1 is not served, 2 is"


def test_a_model_of_another_layout_makes_no_new_scores(shop):
    answer = shop.decide()
    shop.scorer.model = model(names=["liking"])
    expected = "model version 1 has another layout than it had for the scores on record"
    assert impossible(shop, answer, rescore=True) == expected


def test_without_scoring_there_are_no_new_scores(shop):
    answer = shop.decide()
    shop.scorer.failure = Unavailable(Cause.TIMEOUT, "no answer in time")
    assert impossible(shop, answer, rescore=True) == "no answer in time"


def test_what_differs_does_so_without_new_scores_too(shop):
    answer = shop.decide()
    shop.scorer.failure = DOWN
    forge(shop, answer, lambda record: setattr(record, "control_arm_share", 0.5))
    replay = shop.replay(answer.decision_id, rescore=True)
    assert verdict(replay) == "DIFFERENT"
    assert told(replay) == [("control_arm_share", "0.5", "0.0")]
    assert list(replay.missing) == ["out of reach"]


@pytest.mark.parametrize("gone", ["scoring", "features", "customer"])
def test_where_no_model_scored_there_is_nothing_to_score_anew(shop, gone):
    if gone != "customer":
        getattr(shop, {"scoring": "scorer"}.get(gone, gone)).failure = DOWN
    answer = shop.decide(customer_id="nobody" if gone == "customer" else ANNA)
    shop.scorer.failure = None
    assert shop.replay(answer.decision_id, rescore=True) == pb.ReplayDecisionResponse(
        verdict="REPLAY_VERDICT_IDENTICAL"
    )


def test_replaying_changes_nothing(shop):
    answer = shop.decide(request_id="a-1")
    before = copy.deepcopy(shop.log), dict(shop.last_good._features), len(shop.decided)
    reads = [*shop.profiles.as_of_times], [*shop.features.read_customers]
    for rescore in (False, True):
        shop.replay(answer.decision_id, rescore=rescore)
    assert (shop.log, dict(shop.last_good._features), len(shop.decided)) == before
    assert (shop.profiles.as_of_times, shop.features.read_customers) == reads


def refused(shop, decision_id):
    with pytest.raises(Fault) as raised:
        shop.replay(decision_id)
    return raised.value.reason_name


def test_what_is_not_on_record_cannot_be_replayed(shop):
    answer = shop.decide()
    assert refused(shop, "no-such-decision") == "DECISION_UNKNOWN"
    assert refused(shop, "") == "REQUEST_INVALID"
    shop.log.failure = NotLogged("gone")
    assert refused(shop, answer.decision_id) == "STORE_UNAVAILABLE"


def test_replays_are_made_one_at_a_time_and_others_have_their_turn():
    shop, running, most, pauses = Shop(), 0, 0, 0
    answer = shop.decide()
    replays = shop.servicer._replay.replays
    recall = replays.recall

    def counted(record):
        nonlocal running, most
        running += 1
        most = max(most, running)
        return recall(record)

    async def pause():
        nonlocal pauses
        pauses += 1
        await asyncio.sleep(0)

    async def replay():
        nonlocal running
        asked = pb.ReplayDecisionRequest(decision_id=answer.decision_id)
        found = await shop.servicer.ReplayDecision(asked, Call())
        running -= 1
        return found

    async def crowd():
        return await asyncio.gather(*(replay() for _ in range(5)))

    object.__setattr__(replays, "recall", counted)
    object.__setattr__(replays.remakes, "pause", pause)
    assert {verdict(found) for found in asyncio.run(crowd())} == {"IDENTICAL"}
    assert most == 1
    assert pauses > 5
