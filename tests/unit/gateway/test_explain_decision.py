"""ExplainDecision tells what is on record, and changes nothing."""

import asyncio
import copy
import math
from dataclasses import replace
from datetime import timedelta

import pytest
from deciding import ANNA, DOWN, NOW, Shop, chosen, instant, like_it, model, request
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb

from services.chassis.faults import Fault
from services.chassis.rpc import Call
from services.gateway.contributions import MOST_ROWS
from services.gateway.domain.knowledge import Cause, Unavailable
from services.gateway.domain.making import Edition
from services.gateway.ports import MOST_OUTCOMES_TOLD, NotLogged

DRY = "DECISION_MODE_DRY_RUN"


@pytest.fixture
def shop():
    return Shop()


def refused(shop, decision_id, **fields):
    with pytest.raises(Fault) as raised:
        shop.explain(decision_id, **fields)
    return raised.value


def forget(shop):
    """Make everything but the log unreadable."""
    shop.profiles.failure = shop.features.failure = shop.scorer.failure = DOWN
    shop.restart()


def rewrite(shop, answer, **changes):
    """Change the record of a decision behind the gateway's back."""
    (key, entry) = next(item for item in shop.log.entries.items() if item[0][1] == answer.decision_id)
    record = log_pb.DecisionRecord.FromString(entry.record)
    for name, value in changes.items():
        setattr(record.response, name, value)
    shop.log.entries[key] = replace(entry, record=record.SerializeToString())


def outcome(answer, outcome_id, at=NOW, **fields):
    return pb.Outcome(
        outcome_id=outcome_id,
        decision_id=answer.decision_id,
        rank=1,
        kind="OUTCOME_KIND_VIEWED",
        outcome_time=instant(at),
        **fields,
    )


@pytest.mark.parametrize("mode", ["DECISION_MODE_LIVE", DRY])
def test_a_story_needs_nothing_but_the_record(shop, mode):
    asked = request(request_id="a-1", mode=mode, context={"attributes": {"in_store": True}})
    answer = asyncio.run(shop.deciding(asked))
    forget(shop)
    told = shop.explain(answer.decision_id)
    assert told.request == asked
    removed = {trace.removed_rule for trace in told.response.explanation.candidates}
    assert removed == {"", "not_in_store"}
    told.response.ClearField("explanation")
    assert told.response == answer
    assert not told.contributions
    assert not told.contributions_missing


def test_a_story_is_the_same_whenever_it_is_told(shop):
    answer = shop.decide(request_id="a-1")
    first = shop.explain(answer.decision_id)
    shop.now += timedelta(days=400)
    shop.profiles.profiles.clear()
    shop.features.customer = {}
    shop.scorer.model = model(version="2", priors={})
    assert shop.explain(answer.decision_id) == first


def state(shop):
    """Return all that decisions leave behind."""
    return (
        copy.deepcopy(shop.log),
        dict(shop.last_good._features),
        [*shop.profiles.as_of_times],
        [*shop.features.read_customers],
        len(shop.scorer.batches),
        len(shop.decided),
        [*shop.verdicts],
        shop.model.last,
    )


def test_explaining_changes_nothing(shop):
    answer = shop.decide(request_id="a-1")
    shop.record(outcome(answer, "o-1"))
    shop.scorer.model = model(version="2")
    before = state(shop)
    shop.explain(answer.decision_id, include_contributions=True)
    refused(shop, "no-such-decision")
    assert state(shop) == before


def test_who_is_unknown_is_told_as_recorded(shop):
    answer = shop.decide(customer_id="nobody")
    told = shop.explain(answer.decision_id)
    (nothing,) = told.response.explanation.candidates
    assert nothing.action_id == "do_nothing"
    assert [reason.code for reason in told.response.reasons] == ["UNKNOWN_CUSTOMER"]


def test_who_could_not_be_told_is_told_as_recorded(shop):
    shop.profiles.failure = DOWN
    answer = shop.decide(identity=("card", "4711-0815"))
    shop.profiles.failure = None
    told = shop.explain(answer.decision_id)
    assert [reason.code for reason in told.response.reasons] == ["DEGRADED"]
    told.response.ClearField("explanation")
    assert told.response == answer


def test_a_decision_without_a_profile_is_told_as_recorded(shop):
    shop.profiles.failure = DOWN
    answer = shop.decide()
    shop.profiles.failure = None
    told = shop.explain(answer.decision_id).response
    assert {t.removed_rule for t in told.explanation.candidates} >= {"of_age", "not_given"}
    assert chosen(told) == chosen(answer)


def test_what_never_left_is_unknown(shop):
    shop.log.failure = NotLogged("disk is full")
    answer = shop.decide(request_id="a-1")
    shop.log.failure = None
    assert refused(shop, answer.decision_id).reason_name == "DECISION_UNKNOWN"


def test_an_unknown_id_is_not_found(shop):
    fault = refused(shop, "no-such-decision")
    assert (fault.reason_name, fault.code.name) == ("DECISION_UNKNOWN", "NOT_FOUND")


@pytest.mark.parametrize("decision_id", ["", "d" * 129, "d\0"])
def test_what_is_no_id_is_invalid(shop, decision_id):
    fault = refused(shop, decision_id)
    assert fault.reason_name == "REQUEST_INVALID"
    assert [violation.field for violation in fault.violations] == ["decision_id"]


def test_a_log_that_cannot_be_read_is_unavailable(shop):
    answer = shop.decide()
    shop.log.failure = NotLogged("gone")
    fault = refused(shop, answer.decision_id)
    assert (fault.reason_name, fault.code.name) == ("STORE_UNAVAILABLE", "UNAVAILABLE")


def test_a_playbook_that_is_not_at_hand_explains_nothing(shop):
    answer = shop.decide()
    rewrite(shop, answer, playbook_version="1f0c")
    fault = refused(shop, answer.decision_id)
    assert (fault.reason_name, fault.code.name) == ("PLAYBOOK_VERSION_UNKNOWN", "FAILED_PRECONDITION")
    assert fault.message == "playbook version 1f0c is not held"


def test_an_explanation_on_record_needs_no_playbook(shop):
    answer = shop.decide(include_explanation=True)
    shop.edition = Edition(replace(shop.edition.playbook, version="newer"), shop.edition.feature_set)
    shop.restart()
    assert shop.explain(answer.decision_id).response == answer


@pytest.mark.parametrize(
    "changes",
    [{"control_arm": "hold_out"}, {"decision_time": instant(NOW - timedelta(days=90))}],
    ids=["another arm", "another time"],
)
def test_no_story_is_told_of_a_decision_that_would_not_be_made_so(shop, changes):
    answer = shop.decide()
    (entry,) = shop.log.entries.values()
    record = log_pb.DecisionRecord.FromString(entry.record)
    record.response.MergeFrom(pb.DecideResponse(**changes))
    shop.log.entries[True, answer.decision_id] = replace(entry, record=record.SerializeToString())
    fault = refused(shop, answer.decision_id)
    assert fault.reason_name == "PLAYBOOK_VERSION_UNKNOWN"
    assert fault.message == "this version of Tact makes another decision of the record than it was"


def test_features_of_another_layout_explain_nothing(shop):
    answer = shop.decide()
    (entry,) = shop.log.entries.values()
    record = log_pb.DecisionRecord.FromString(entry.record)
    record.feature_fingerprint = "other"
    shop.log.entries[True, answer.decision_id] = replace(entry, record=record.SerializeToString())
    assert refused(shop, answer.decision_id).reason_name == "PLAYBOOK_VERSION_UNKNOWN"


def test_a_request_that_is_wrong_by_now_explains_nothing(shop):
    answer = shop.decide()
    (entry,) = shop.log.entries.values()
    record = log_pb.DecisionRecord.FromString(entry.record)
    record.request.context.channel = "pigeon"
    shop.log.entries[True, answer.decision_id] = replace(entry, record=record.SerializeToString())
    assert refused(shop, answer.decision_id).reason_name == "PLAYBOOK_VERSION_UNKNOWN"


def test_outcomes_are_told_by_time(shop):
    answer, other = shop.decide(), shop.decide()
    late, early = outcome(answer, "o-1"), outcome(answer, "o-2", NOW - timedelta(seconds=1))
    shop.record(late, early, outcome(other, "o-3"))
    assert list(shop.explain(answer.decision_id).outcomes) == [early, late]


def test_an_override_is_told_with_what_was_done_instead_and_by_whom(shop):
    answer = shop.decide()
    told = outcome(answer, "o-1")
    told.kind, told.instead_action_id, told.actor_id = pb.OUTCOME_KIND_OVERRIDDEN, "survey", "agent-7"
    shop.record(told)
    assert list(shop.explain(answer.decision_id).outcomes) == [told]


def test_of_very_many_outcomes_the_first_are_told(shop):
    answer = shop.decide()
    moments = [NOW - timedelta(seconds=number) for number in range(MOST_OUTCOMES_TOLD + 1)]
    shop.record(*(outcome(answer, f"o-{number}", at) for number, at in enumerate(moments)))
    told = shop.explain(answer.decision_id).outcomes
    assert [one.outcome_time.ToDatetime(NOW.tzinfo) for one in told] == moments[:0:-1]


def test_others_have_their_turn_while_a_story_is_prepared(shop):
    answer = shop.decide()
    before = shop.pauses
    shop.explain(answer.decision_id)
    assert shop.pauses > before


def test_stories_are_prepared_one_at_a_time():
    shop, running, most = Shop(), 0, 0
    answer = shop.decide()
    prepare = shop.servicer._explain.recall

    def recall(record):
        nonlocal running, most
        running += 1
        most = max(most, running)
        return prepare(record)

    async def pause():
        await asyncio.sleep(0)

    async def explain():
        nonlocal running
        asked = pb.ExplainDecisionRequest(decision_id=answer.decision_id)
        told = await shop.servicer.ExplainDecision(asked, Call())
        running -= 1
        return told

    async def crowd():
        return await asyncio.gather(*(explain() for _ in range(5)))

    object.__setattr__(shop.servicer._explain, "recall", recall)
    object.__setattr__(shop.servicer._explain.remakes, "pause", pause)
    stories = asyncio.run(crowd())
    assert all(story == stories[0] for story in stories)
    assert most == 1


def test_contributions_are_named_and_weighed(shop):
    answer = shop.decide(request_id="a-1", context={"attributes": {"basket_value": -2.5}})
    told = shop.explain(answer.decision_id, include_contributions=True)
    assert not told.contributions_missing
    (batch,) = shop.scorer.batches
    ((customer, rows),) = shop.scorer.explained
    assert (customer.tobytes(), rows.tobytes()) == (batch[0].tobytes(), batch[1].tobytes())
    by_action = {one.action_id: one.contributions for one in told.contributions}
    assert by_action.keys() == {"bread-coupon", "wine-coupon", "survey", "receipt", "recall"}
    bread = [
        (c.feature, c.value if c.HasField("value") else None, c.contribution)
        for c in by_action["bread-coupon"]
    ]
    assert bread == [
        ("spend_30d", 120.5, 120.5),
        ("discount", 10.0, 10.0),
        ("purchases_30d", 6.0, 6.0),
        ("basket_value", -2.5, -2.5),
        ("segment", 2.0, 2.0),
        ("bias", None, 0.5),
        ("liking", 0.4, 0.4),
    ]
    (discount,) = (c for c in by_action["survey"] if c.feature == "discount")
    assert not discount.HasField("value")


def test_contributions_are_asked_for_only_where_they_are_wanted(shop):
    answer = shop.decide()
    described = shop.scorer.described
    assert not shop.explain(answer.decision_id).contributions
    assert shop.scorer.explained == []
    assert shop.scorer.described == described


def test_contributions_come_with_an_explanation_on_record(shop):
    answer = shop.decide(include_explanation=True)
    assert len(shop.explain(answer.decision_id, include_contributions=True).contributions) == 5


def missing(shop, answer):
    """Return why contributions are missing; the rest of the story must be there."""
    told = shop.explain(answer.decision_id, include_contributions=True)
    assert not told.contributions
    assert told.response.explanation.candidates
    return told.contributions_missing


def test_another_model_cannot_tell_what_made_a_score(shop):
    answer = shop.decide()
    shop.scorer.model = model(version="2")
    assert missing(shop, answer) == "The scores are of model 1; scoring serves 2 by now."


def test_a_model_of_another_layout_cannot_tell_what_made_a_score(shop):
    answer = shop.decide()
    shop.scorer.model = model(version="1", names=["liking"])
    assert missing(shop, answer) == "The scores are of model 1 in another layout than that of today."


def test_without_scoring_a_story_has_no_contributions(shop):
    answer = shop.decide()
    shop.scorer.failure = Unavailable(Cause.TIMEOUT, "no answer in time")
    assert missing(shop, answer) == "Scoring did not help: no answer in time."


def test_a_deadline_is_shared_with_scoring(shop):
    answer = shop.decide()
    shop.remaining = 0.0
    assert missing(shop, answer) == "Scoring did not help: no answer in time."


@pytest.mark.parametrize("gone", ["scoring", "features", "consent"])
def test_what_no_model_scored_has_no_contributions(shop, gone):
    if gone == "scoring":
        shop.scorer.failure = DOWN
    elif gone == "features":
        shop.features.failure = DOWN
    answer = shop.decide(**({"groups": ["offers"], "customer_id": "nobody"} if gone == "consent" else {}))
    shop.scorer.failure = shop.features.failure = None
    assert missing(shop, answer) == "No model scored this decision."


def test_more_scores_than_can_be_explained_at_once_are_left_unexplained(shop):
    answer = shop.decide()
    (entry,) = shop.log.entries.values()
    record = log_pb.DecisionRecord.FromString(entry.record)
    for number in range(MOST_ROWS):
        record.candidates.add(action_id=f"a-{number}", propensity=0.5)
    record.response.explanation.SetInParent()
    record.response.explanation.candidates.add()
    shop.log.entries[True, answer.decision_id] = replace(entry, record=record.SerializeToString())
    assert missing(shop, answer) == "1005 actions were scored, more than the 1000 explained at once."


def test_a_missing_value_has_a_contribution_all_the_same(shop):
    shop.features.candidate = {"liking": math.nan}
    answer = shop.decide(customer_id=ANNA)
    told = shop.explain(answer.decision_id, include_contributions=True)
    bread = next(one for one in told.contributions if one.action_id == "recall")
    (liking,) = (c for c in bread.contributions if c.feature == "liking")
    assert not liking.HasField("value")
    assert like_it(None, [math.nan]) == 0.3
