"""What is decided, in which order, and what the answer says of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from deciding import ANNA, DOWN, EVERYTHING, LAYOUT, NOW, Shop, chosen, codes, model
from tact.decision.v1 import decision_service_pb2 as pb

from services.engine.policy.consent import Permission
from services.gateway.domain.knowledge import Profile

STAGES = ["candidates", "resolve", "policy", "consent", "contact", "place", "score", "arbitrate"]
DRY = "DECISION_MODE_DRY_RUN"


def shop_of(attributes=None, permissions=EVERYTHING):
    shop = Shop()
    anna = shop.profiles.profiles[ANNA]
    shop.profiles.profiles[ANNA] = replace(
        anna,
        attributes=anna.attributes if attributes is None else attributes,
        permissions=permissions,
    )
    return shop


def traces(answer):
    return {(trace.action_id, trace.treatment_id): trace for trace in answer.explanation.candidates}


def test_mandatory_comes_first_then_the_best_priority_one_treatment_an_action():
    answer = Shop().decide()
    assert chosen(answer) == [
        ("recall", "message"),
        ("wine-coupon", "message"),
        ("bread-coupon", "message"),
        ("survey", "question"),
        ("receipt", "message"),
    ]
    assert [action.rank for action in answer.actions] == [1, 2, 3, 4, 5]
    priorities = [action.priority for action in answer.actions[1:]]
    assert priorities == pytest.approx([0.4 * 9 - 0.01, 0.4 * 4 - 0.01, 0.4 * 0.6, 0.4 * 0.5])
    assert not answer.reasons
    assert {action.selection_probability for action in answer.actions} == {1.0}


def test_an_action_says_all_that_a_channel_needs():
    action = Shop().decide(action_ids=["bread-coupon"]).actions[0]
    assert (action.channel, action.device) == ("email", "")
    assert action.value == pb.Money(micros=4_000_000, currency="EUR")
    assert action.cost == pb.Money(micros=10_000, currency="EUR")
    assert dict(action.content) == {"headline": "Bread for less", "image": "loaf.png"}
    assert action.not_before_time.ToDatetime(UTC) == NOW
    assert not action.HasField("expire_time")
    assert [reason.code for reason in action.reasons] == ["LIKELY", "VALUE"]


def test_one_action_unless_more_are_asked_for():
    assert len(Shop().decide(max_actions=0).actions) == 1
    assert len(Shop().decide(max_actions=2).actions) == 2
    assert len(Shop().decide(max_actions=100).actions) == 5


def test_candidates_can_be_restricted():
    assert chosen(Shop().decide(groups=["offers"])) == [
        ("wine-coupon", "message"),
        ("bread-coupon", "message"),
    ]
    assert chosen(Shop().decide(groups=["offers"], action_ids=["survey", "wine-coupon"])) == [
        ("wine-coupon", "message")
    ]


def test_an_action_lives_from_its_first_day_to_its_last_in_the_playbook_s_zone():
    first, end = datetime(2025, 2, 28, 23, tzinfo=UTC), datetime(2025, 3, 31, 22, tzinfo=UTC)
    moment = timedelta(microseconds=1)
    for at, is_live in ((first - moment, False), (first, True), (end - moment, True), (end, False)):
        answer = Shop().decide(mode=DRY, at=at, action_ids=["spring-sale"])
        assert bool(answer.actions) is is_live
        if is_live:
            assert answer.actions[0].expire_time.ToDatetime(UTC) == end
        else:
            assert codes(answer) == ["NO_CANDIDATE"]


def test_the_device_is_the_context_s_on_the_context_s_channel():
    context = {"channel": "email", "device": "phone"}
    devices = {action.channel: action.device for action in Shop().decide(context=context).actions}
    assert devices == {"email": "phone", "app": ""}


def test_doing_nothing_wins_where_nothing_is_worth_more():
    shop = Shop()
    shop.scorer.score_row = lambda customer, candidate: 0.01
    answer = shop.decide(groups=["offers"], include_explanation=True)
    assert (chosen(answer), codes(answer)) == ([], ["BELOW_THRESHOLD"])
    assert "wine-coupon" in answer.reasons[0].text
    found = traces(answer)
    assert found["do_nothing", ""].priority == pytest.approx(0.10)
    assert found["wine-coupon", "message"].priority == pytest.approx(0.08)
    assert not any(trace.rank for trace in found.values())
    record = shop.logged(answer)
    assert [candidate.rank_one_probability for candidate in record.candidates] == [0, 0, 0, 1]


def test_doing_nothing_ends_the_slate():
    shop = Shop()
    shop.scorer.score_row = lambda customer, candidate: 0.02 if candidate[1] == 10 else 0.4
    answer = shop.decide(groups=["offers"])
    assert chosen(answer) == [("wine-coupon", "message")]
    record = shop.logged(answer)
    assert {c.action_id: c.rank_one_probability for c in record.candidates if c.rank_one_probability} == {
        "wine-coupon": 1.0
    }


def test_silence_names_consents_and_rules_that_took_candidates_out():
    shop = shop_of({"age": 12}, permissions={})
    answer = shop.decide(action_ids=["wine-coupon", "bread-coupon"], include_explanation=True)
    assert codes(answer) == ["NO_CONSENT", "NO_CONSENT", "NOT_ELIGIBLE"]
    assert answer.reasons[2].text == "Wine is for adults."
    found = traces(answer)
    assert found["wine-coupon", "message"].removed_rule == "of_age"
    assert found["bread-coupon", "letter"].removed_stage == "consent"
    assert not found["bread-coupon", "letter"].HasField("propensity")


def test_a_missing_value_removes_and_says_which():
    answer = shop_of({}).decide(action_ids=["wine-coupon"], include_explanation=True)
    assert (
        traces(answer)["wine-coupon", "message"].removed_text == "Wine is for adults. (missing: profile.age)"
    )


@pytest.mark.parametrize(
    ("permission", "rule"),
    [
        (None, "not_given"),
        (Permission(granted=False), "refused"),
        (Permission(granted=True, expire_time=NOW), "expired"),
        (Permission(granted=True, expire_time=NOW + timedelta(microseconds=1)), ""),
        (Permission(granted=True), ""),
    ],
)
def test_a_channel_needs_a_granted_unexpired_consent(permission, rule):
    permissions = {key: grant for key, grant in EVERYTHING.items() if key != ("marketing", "email")}
    if permission is not None:
        permissions["marketing", "email"] = permission
    answer = shop_of(permissions=permissions).decide(groups=["offers"], include_explanation=True)
    assert traces(answer)["wine-coupon", "message"].removed_rule == rule
    assert ("bread-coupon", "letter" if rule else "message") in chosen(answer)


def test_what_needs_consent_expires_with_it():
    ends = NOW + timedelta(hours=1)
    permissions = {pair: Permission(granted=True, expire_time=ends) for pair in EVERYTHING}
    answer = shop_of(permissions=permissions).decide()
    expiry = {action.action_id: action.expire_time for action in answer.actions}
    assert expiry["wine-coupon"].ToDatetime(UTC) == ends
    assert [action.action_id for action in answer.actions if not action.HasField("expire_time")] == [
        "recall",
        "receipt",
    ]


@pytest.mark.parametrize("channel", ["email", "mail", "app"])
@pytest.mark.parametrize("purpose", ["marketing", "care"])
def test_a_consent_is_for_one_purpose_on_one_channel(purpose, channel):
    shop = shop_of(permissions={(purpose, channel): Permission(granted=True)})
    allowed = {
        ("marketing", "email"): {("wine-coupon", "message"), ("bread-coupon", "message")},
        ("marketing", "mail"): {("bread-coupon", "letter")},
        ("care", "app"): {("survey", "question")},
    }.get((purpose, channel), set())
    # What has to be said goes, by preference where the customer permits it.
    recall = "letter" if (purpose, channel) == ("care", "mail") else "message"
    free = {("recall", recall), ("receipt", "message")}
    assert set(chosen(shop.decide())) == allowed | free


@pytest.mark.parametrize(
    ("asked", "on_file", "zone", "source"),
    [
        ("Asia/Tokyo", "America/Lima", "Asia/Tokyo", "request"),
        ("", "America/Lima", "America/Lima", "profile"),
        ("", None, "Europe/Paris", "playbook"),
        ("", "Somewhere/Else", "Europe/Paris", "playbook"),
    ],
)
def test_local_time_is_the_customer_s(asked, on_file, zone, source):
    attributes = {"age": 40} | ({} if on_file is None else {"time_zone": on_file})
    shop = shop_of(attributes)
    shop.scorer.model = model(names=("hour",))
    shop.scorer.score_row = lambda customer, candidate: 0.5
    answer = shop.decide(context={"time_zone": asked}, include_explanation=True)
    assert (answer.explanation.time_zone, answer.explanation.time_zone_source) == (zone, source)
    customer, _ = shop.scorer.batches[0]
    local = {"Asia/Tokyo": 18, "America/Lima": 4, "Europe/Paris": 11}
    assert customer.tolist() == [local[zone]]


def test_the_model_sees_what_it_was_trained_on_in_its_order():
    shop = Shop()
    answer = shop.decide(context={"attributes": {"basket_value": 12.5}}, action_ids=["wine-coupon", "survey"])
    ((customer, rows),) = shop.scorer.batches
    assert customer.tolist() == [120.5, 6.0, 2.0, 12.5]
    np.testing.assert_array_equal(rows, [[0.4, 20.0], [0.4, np.nan]])
    record = shop.logged(answer)
    assert record.customer_vector == customer.astype("<f8").tobytes()
    vectors = {c.action_id: c.candidate_vector for c in record.candidates}
    assert vectors["survey"] == rows[1].astype("<f8").tobytes()
    assert vectors["do_nothing"] == b""
    assert record.schema_fingerprint == shop.scorer.model.fingerprint
    assert LAYOUT[:4] == ("spend_30d", "purchases_30d", "segment", "basket_value")


def test_each_action_is_scored_once_whatever_its_treatments():
    shop = Shop()
    shop.decide()
    ((_, rows),) = shop.scorer.batches
    assert len(rows) == 5


def test_a_live_decision_reads_the_newest_consents_and_a_dry_run_those_of_its_time():
    shop = Shop()
    shop.decide(at=NOW - timedelta(seconds=3))
    shop.decide(mode=DRY, at=NOW - timedelta(days=3))
    assert shop.profiles.as_of_times == [None, NOW - timedelta(days=3)]


def test_timings_name_every_stage_and_do_not_exceed_the_total():
    shop = Shop()
    answer = shop.decide()
    assert [timing.stage for timing in answer.timings] == STAGES
    durations = [timing.duration.ToTimedelta() for timing in answer.timings]
    assert all(durations)
    assert sum(durations, timedelta()) <= answer.total_duration.ToTimedelta()
    ((decision, logging),) = shop.decided
    assert decision.total == answer.total_duration.ToTimedelta()
    assert logging > timedelta()


def test_an_empty_answer_is_timed_as_well():
    answer = Shop().decide(customer_id="nobody")
    assert [timing.stage for timing in answer.timings] == STAGES[:2]
    assert answer.total_duration.ToTimedelta() >= sum(
        (timing.duration.ToTimedelta() for timing in answer.timings), timedelta()
    )


def test_the_whole_trace_is_given_on_request_only():
    assert not Shop().decide().HasField("explanation")
    shop = Shop()
    shop.features.customer = {**shop.features.customer, "mean_spend_30d": float("nan")}
    answer = shop.decide(include_explanation=True)
    found = {feature.name: feature for feature in answer.explanation.features}
    assert set(found) == {"spend_30d", "purchases_30d", "complaints_30d", "mean_spend_30d"}
    assert found["spend_30d"].value == pytest.approx(120.5)
    assert found["spend_30d"].age.seconds == 60
    assert not found["mean_spend_30d"].HasField("value")
    assert [trace.action_id for trace in answer.explanation.candidates][-1] == "do_nothing"


def test_the_record_holds_request_answer_and_caller():
    shop = Shop(caller="shop-frontend")
    answer = shop.decide(request_id="a-1", context={"intent": "pay"})
    record = shop.logged(answer)
    assert record.caller == "shop-frontend"
    assert record.request.context.intent == "pay"
    assert record.response == answer
    assert record.record_time.ToDatetime(UTC) == NOW
    assert [c.removed_rule for c in record.candidates] == [""] * 8
    entry = shop.log.entries[True, answer.decision_id]
    assert (entry.customer_id, len(entry.offers)) == (ANNA, len(answer.actions))


def test_a_mandatory_action_says_so():
    action = Shop().decide(action_ids=["recall"]).actions[0]
    assert [reason.code for reason in action.reasons] == ["MANDATORY", "UNLIKELY", "VALUE"]


def test_without_a_score_the_reasons_say_so():
    shop = Shop()
    shop.scorer.failure = DOWN
    actions = {action.action_id: action for action in shop.decide().actions}
    assert [reason.code for reason in actions["recall"].reasons] == ["MANDATORY"]
    assert [reason.code for reason in actions["receipt"].reasons] == ["DEGRADED"]


def test_an_unlisted_profile_is_nobody():
    shop = Shop()
    shop.profiles.profiles["ghost"] = Profile(found=False)
    assert codes(shop.decide(customer_id="ghost")) == ["UNKNOWN_CUSTOMER"]
