"""A dependency that fails degrades the answer, names itself and widens nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest
from deciding import (
    ANNA,
    CARD,
    DOWN,
    LAYOUT,
    NEEDS_CONSENT,
    NOW,
    Shop,
    chosen,
    codes,
    degradations,
    model,
    served_by,
)

from services.gateway.domain.knowledge import Cause, Unavailable
from services.gateway.domain.last_good import LastGood
from services.gateway.ports import NotLogged

SLOW = Unavailable(Cause.TIMEOUT, "no answer in time")


def actions(answer):
    return {action_id for action_id, _ in chosen(answer)}


def test_nothing_is_degraded_while_all_is_well():
    shop = Shop()
    answer = shop.decide()
    assert served_by(answer) == "MODEL"
    assert not answer.degradations
    assert answer.model_version == "1"
    assert answer.as_of_sequence == 17
    assert actions(answer) == {"recall", "wine-coupon", "bread-coupon", "survey", "receipt"}


@pytest.mark.parametrize("failing", [(), ("features",), ("scorer",), ("features", "scorer")])
def test_an_unknown_customer_gets_an_empty_answer_that_says_so(failing):
    shop = Shop()
    for name in failing:
        getattr(shop, name).failure = DOWN
    answer = shop.decide(customer_id="nobody")
    assert (chosen(answer), codes(answer)) == ([], ["UNKNOWN_CUSTOMER"])
    assert answer.customer_id == "nobody"
    assert shop.logged(answer).response == answer


def test_an_unknown_identity_is_no_customer():
    shop = Shop()
    answer = shop.decide(identity=("card", "no such card"))
    assert codes(answer) == ["UNKNOWN_CUSTOMER"]
    assert answer.customer_id == ""
    assert shop.features.read_customers == []


def test_an_identity_stands_for_its_customer():
    by_card, by_id = Shop().decide(identity=CARD), Shop().decide()
    assert by_card.customer_id == ANNA
    assert by_card.actions == by_id.actions


def test_without_profiles_nobody_can_tell_whose_card_it_is():
    shop = Shop()
    shop.profiles.failure = DOWN
    answer = shop.decide(identity=CARD)
    assert (chosen(answer), codes(answer), served_by(answer)) == ([], ["DEGRADED"], "NOTHING")
    assert degradations(answer) == [("PROFILE", "UNAVAILABLE")]
    assert answer.customer_id == ""


def test_without_a_profile_only_what_needs_no_consent_leaves():
    shop = Shop()
    shop.profiles.failure = SLOW
    answer = shop.decide()
    assert chosen(answer) == [("recall", "message"), ("receipt", "message")]
    assert degradations(answer) == [("PROFILE", "TIMEOUT")]
    assert served_by(answer) == "MODEL"
    assert answer.customer_id == ANNA


def test_a_degradation_says_what_happened_without_naming_anybody():
    shop = Shop()
    shop.profiles.failure = DOWN
    assert shop.decide().degradations[0].detail == "out of reach"


def test_features_that_cannot_be_read_are_replaced_by_the_last_good_ones():
    shop = Shop()
    before = shop.decide()
    shop.now += timedelta(hours=2)
    shop.features.failure = DOWN
    after = shop.decide(include_explanation=True)
    assert {feature.age.seconds for feature in after.explanation.features} == {60 + 2 * 3_600}
    assert served_by(after) == "LAST_GOOD_FEATURES"
    assert degradations(after) == [("FEATURES", "UNAVAILABLE")]
    assert chosen(after) == chosen(before)
    assert after.as_of_sequence == before.as_of_sequence
    assert after.model_version == "1"


def test_without_features_rules_that_need_them_remove_and_the_rest_gets_base_rates():
    shop = Shop()
    shop.features.failure = DOWN
    answer = shop.decide()
    assert served_by(answer) == "PRIORS"
    assert degradations(answer) == [("FEATURES", "UNAVAILABLE")]
    assert actions(answer) == {"recall", "survey", "receipt"}
    assert {action.propensity for action in answer.actions} == {0.5}
    assert answer.model_version == ""
    assert answer.as_of_sequence == 0


@pytest.mark.parametrize(
    "asked_after",
    [timedelta(seconds=-1), timedelta(hours=24, microseconds=1)],
    ids=["of the future", "too old"],
)
def test_last_good_features_are_neither_of_the_future_nor_too_old(asked_after):
    shop = Shop()
    shop.decide(mode="DECISION_MODE_DRY_RUN", at=NOW)
    shop.features.failure = DOWN
    answer = shop.decide(mode="DECISION_MODE_DRY_RUN", at=NOW + asked_after)
    assert served_by(answer) == "PRIORS"


def test_last_good_features_serve_up_to_their_age():
    shop = Shop()
    shop.decide()
    shop.features.failure = DOWN
    answer = shop.decide(mode="DECISION_MODE_DRY_RUN", at=NOW + timedelta(hours=24))
    assert served_by(answer) == "LAST_GOOD_FEATURES"


def test_a_dry_run_of_the_future_does_not_displace_last_good_features():
    shop = Shop()
    shop.decide(mode="DECISION_MODE_DRY_RUN", at=NOW + timedelta(days=9_000))
    shop.decide()
    shop.now += timedelta(minutes=1)
    shop.features.failure = DOWN
    assert served_by(shop.decide()) == "LAST_GOOD_FEATURES"


def test_strangers_do_not_push_customers_out_of_memory():
    shop = Shop(last_good=LastGood(1, timedelta(days=1)))
    shop.decide()
    shop.decide(customer_id="nobody")
    shop.features.failure = DOWN
    assert served_by(shop.decide()) == "LAST_GOOD_FEATURES"


def test_a_sequence_that_is_not_reached_is_a_mismatch():
    shop = Shop()
    assert degradations(shop.decide(min_sequence=18)) == [("FEATURES", "MISMATCH")]
    assert degradations(shop.decide(min_sequence=17)) == []


def test_late_scores_fall_back_to_priors():
    shop = Shop()
    shop.decide()
    shop.scorer.failure = SLOW
    answer = shop.decide()
    assert served_by(answer) == "PRIORS"
    assert degradations(answer) == [("SCORING", "TIMEOUT")]
    propensities = {action.action_id: action.propensity for action in answer.actions}
    assert propensities == {
        "recall": 0.5,
        "wine-coupon": 0.2,
        "bread-coupon": 0.2,
        "survey": 0.5,
        "receipt": 0.5,
    }
    assert "PRIOR" in [reason.code for reason in answer.actions[1].reasons]


def test_priors_outlive_a_restart():
    shop = Shop()
    shop.decide()
    shop.scorer.failure = DOWN
    shop.restart()
    assert served_by(shop.decide()) == "PRIORS"


def test_a_group_that_training_never_saw_gets_the_overall_prior():
    shop = Shop()
    shop.log.model = model(priors={"offers": 0.2})
    shop.scorer.failure = DOWN
    survey = next(action for action in shop.decide().actions if action.action_id == "survey")
    assert survey.propensity == pytest.approx(0.3)


def test_without_any_model_ever_only_what_must_go_goes():
    shop = Shop()
    shop.scorer.failure = DOWN
    answer = shop.decide(include_explanation=True)
    assert served_by(answer) == "RULES"
    assert chosen(answer) == [("recall", "letter"), ("receipt", "message")]
    assert degradations(answer) == [("SCORING", "UNAVAILABLE")]
    assert not any(action.HasField("propensity") for action in answer.actions)
    removed = {trace.action_id for trace in answer.explanation.candidates if trace.removed_stage == "score"}
    assert removed == {"bread-coupon", "wine-coupon", "survey"}


def test_another_layout_is_asked_for_and_filled_at_once():
    shop = Shop()
    shop.decide()
    shop.scorer.model = model(version="2", names=LAYOUT[::-1])
    answer = shop.decide()
    assert (served_by(answer), answer.model_version) == ("MODEL", "2")
    assert not answer.degradations
    assert shop.logged(answer).schema_fingerprint == shop.scorer.model.fingerprint


def test_a_layout_that_changes_under_our_hands_is_a_mismatch():
    shop = Shop()
    shop.decide()
    shop.scorer.failure = Unavailable(Cause.MISMATCH, "SCHEMA_MISMATCH")
    described = shop.scorer.described
    answer = shop.decide()
    assert served_by(answer) == "PRIORS"
    assert degradations(answer) == [("SCORING", "MISMATCH")]
    assert shop.scorer.described == described + 1


def unknown_feature():
    return (("fame", "0123456789abcdef", False),)


def redefined_feature():
    return tuple((name, "0123456789abcdef", candidate) for name, _, candidate in model().layout)


def moved_feature():
    return tuple((name, digest, not candidate) for name, digest, candidate in model().layout)


@pytest.mark.parametrize("layout", [unknown_feature, redefined_feature, moved_feature])
def test_a_model_of_other_features_is_never_used(layout):
    shop = Shop()
    shop.scorer.model = replace(model(), layout=layout())
    answer = shop.decide()
    assert degradations(answer) == [("SCORING", "MISMATCH")]
    assert served_by(answer) == "RULES"
    assert shop.scorer.batches == []


def test_a_fingerprint_of_another_layout_is_never_used():
    shop = Shop()
    shop.scorer.model = replace(model(), fingerprint=model(names=LAYOUT[::-1]).fingerprint)
    assert degradations(shop.decide()) == [("SCORING", "MISMATCH")]
    assert shop.scorer.batches == []


def test_a_promotion_of_the_same_layout_is_followed():
    shop = Shop()
    shop.decide()
    shop.scorer.model = model(version="2", priors={"offers": 0.9, "service": 0.9})
    assert shop.decide().model_version == "2"
    shop.scorer.failure = DOWN
    assert {action.propensity for action in shop.decide().actions} == {0.9}


def test_nothing_left_to_score_is_no_degradation():
    shop = Shop()
    shop.scorer.failure = DOWN
    answer = shop.decide(action_ids=["wine-coupon", "spring-sale"], customer_id=ANNA, groups=["service"])
    assert (chosen(answer), codes(answer)) == ([], ["NO_CANDIDATE"])
    assert (served_by(answer), degradations(answer)) == ("MODEL", [])


def test_silence_for_want_of_knowledge_is_not_credited_to_the_model():
    shop = Shop()
    needs_all = {"action_ids": ["bread-coupon", "wine-coupon"]}
    assert served_by(shop.decide(**needs_all)) == "MODEL"
    shop.features.failure = DOWN
    assert (served_by(shop.decide(**needs_all)), actions(shop.decide(**needs_all))) == ("PRIORS", set())
    shop.features.failure, shop.profiles.failure = None, DOWN
    assert (served_by(shop.decide(**needs_all)), actions(shop.decide(**needs_all))) == ("NOTHING", set())
    new = Shop()
    new.scorer.failure = new.features.failure = DOWN
    assert served_by(new.decide(**needs_all)) == "RULES"


def test_a_narrowed_request_does_not_displace_the_last_good_features_of_all():
    shop = Shop()
    before = shop.decide()
    shop.now += timedelta(minutes=1)
    shop.decide(action_ids=["survey"])
    shop.features.failure = DOWN
    after = shop.decide()
    assert served_by(after) == "LAST_GOOD_FEATURES"
    assert chosen(after) == chosen(before)


def test_everything_down_still_answers():
    shop = Shop()
    shop.profiles.failure = shop.features.failure = shop.scorer.failure = DOWN
    answer = shop.decide()
    assert served_by(answer) == "RULES"
    assert degradations(answer) == [
        ("PROFILE", "UNAVAILABLE"),
        ("FEATURES", "UNAVAILABLE"),
        ("SCORING", "UNAVAILABLE"),
    ]
    assert not actions(answer) & NEEDS_CONSENT
    assert chosen(answer) == [("recall", "letter"), ("receipt", "message")]


def test_a_deadline_that_has_passed_leaves_no_time_for_dependencies():
    shop = Shop(remaining=0.0)
    answer = shop.decide()
    assert degradations(answer) == [("PROFILE", "TIMEOUT"), ("FEATURES", "TIMEOUT"), ("SCORING", "TIMEOUT")]
    assert not actions(answer) & NEEDS_CONSENT


def test_what_cannot_be_logged_does_not_leave():
    shop = Shop()
    shop.log.failure = NotLogged("disk is full")
    answer = shop.decide(request_id="a-1", include_explanation=True)
    assert (chosen(answer), codes(answer), served_by(answer)) == ([], ["NOT_LOGGED"], "NOTHING")
    assert not answer.explanation.HasField("nearest_change")
    assert degradations(answer) == [("DECISION_LOG", "UNAVAILABLE")]
    assert not any(trace.rank for trace in answer.explanation.candidates)
    assert shop.log.entries == {}
    assert len(shop.decided) == 1


def test_a_log_that_recovers_takes_the_same_request():
    shop = Shop()
    shop.log.failure = NotLogged("disk is full")
    refused = shop.decide(request_id="a-1")
    shop.log.failure = None
    answer = shop.decide(request_id="a-1")
    assert answer.decision_id == refused.decision_id
    assert chosen(answer)


def test_the_log_is_named_after_what_failed_before_it():
    shop = Shop()
    shop.scorer.failure = DOWN
    shop.log.failure = NotLogged("disk is full")
    assert degradations(shop.decide()) == [("SCORING", "UNAVAILABLE"), ("DECISION_LOG", "UNAVAILABLE")]
