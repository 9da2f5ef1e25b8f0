"""A repeat within 24 hours returns the stored answer, before any other check."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from deciding import DOWN, NOW, Shop, request
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.faults import Fault
from services.gateway.domain.request import decision_id
from services.gateway.ports import NotLogged


def refused(shop, **fields):
    with pytest.raises(Fault) as raised:
        shop.decide(**fields)
    return raised.value.reason_name


@pytest.mark.parametrize("include_explanation", [False, True])
def test_a_repeat_is_answered_byte_for_byte(include_explanation):
    shop = Shop()
    fields = {"request_id": "a-1", "include_explanation": include_explanation}
    first = shop.decide(**fields)
    shop.now += timedelta(hours=24)
    shop.profiles.profiles.clear()
    shop.features.failure = shop.scorer.failure = DOWN
    second = shop.decide(**fields)
    assert second.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
    assert len(shop.decided) == 1
    assert len(shop.log.entries) == 1


def test_a_repeat_comes_before_every_other_check():
    shop = Shop()
    first = shop.decide(request_id="a-1", at=NOW)
    shop.now += timedelta(hours=1)
    assert shop.decide(request_id="a-1", at=NOW) == first
    assert refused(shop, request_id="a-2", at=NOW) == "REQUEST_INVALID"


def test_another_payload_under_the_same_id_is_refused():
    shop = Shop()
    shop.decide(request_id="a-1")
    assert refused(shop, request_id="a-1", max_actions=1) == "IDENTIFIER_REUSED"
    assert refused(shop, request_id="a-1", max_actions=-1) == "IDENTIFIER_REUSED"


def test_a_repeat_after_a_day_is_refused():
    shop = Shop()
    shop.decide(request_id="a-1")
    shop.now += timedelta(hours=24, microseconds=1)
    assert refused(shop, request_id="a-1") == "REQUEST_ID_EXPIRED"
    assert len(shop.log.entries) == 1


def test_without_a_request_id_every_call_is_a_new_decision():
    shop = Shop()
    first, second = shop.decide(), shop.decide()
    assert first.decision_id != second.decision_id
    assert first.request_id != second.request_id
    assert uuid.UUID(first.request_id)
    assert first.actions == second.actions


def test_an_id_made_by_the_gateway_identifies_its_decision():
    shop = Shop()
    answer = shop.decide()
    assert answer.decision_id == decision_id("anonymous", True, answer.request_id)


def test_what_was_refused_is_no_repeat():
    shop = Shop()
    assert refused(shop, request_id="a-1", max_actions=-1) == "REQUEST_INVALID"
    assert shop.decide(request_id="a-1").request_id == "a-1"


def test_live_and_dry_runs_are_kept_apart():
    shop = Shop()
    live = shop.decide(request_id="a-1")
    dry = shop.decide(request_id="a-1", mode="DECISION_MODE_DRY_RUN")
    assert live.decision_id != dry.decision_id
    assert {live for live, _ in shop.log.entries} == {True, False}


def test_callers_are_kept_apart():
    shop = Shop()
    first = shop.decide(request_id="a-1")
    shop.caller = "shop-frontend"
    assert shop.decide(request_id="a-1").decision_id != first.decision_id


def test_a_mode_left_out_is_live():
    shop = Shop()
    left_out = shop.decide(request_id="a-1")
    assert refused(shop, request_id="a-1", mode="DECISION_MODE_LIVE") == "IDENTIFIER_REUSED"
    assert left_out.decision_id == decision_id("anonymous", True, "a-1")


@given(st.tuples(st.text(), st.booleans(), st.text()), st.tuples(st.text(), st.booleans(), st.text()))
def test_different_decisions_have_different_ids(one, other):
    assert (decision_id(*one) == decision_id(*other)) == (one == other)


def test_decision_ids_never_change():
    assert decision_id("anonymous", True, "a-1") == "5e1ae3db-07c9-5dd0-9f59-23f109a6a6b5"
    assert uuid.UUID(decision_id("anonymous", False, "a-1")).version == 5


def both_at_once(shop, one, other):
    async def gather():
        return await asyncio.gather(shop.deciding(one), shop.deciding(other), return_exceptions=True)

    return asyncio.run(gather())


def test_concurrent_duplicates_get_the_same_answer():
    shop = Shop()
    first, second = both_at_once(shop, request(request_id="a-1"), request(request_id="a-1"))
    assert first == second
    assert len(shop.profiles.as_of_times) == 2
    assert len(shop.log.entries) == 1
    assert len(shop.decided) == 1


def test_of_two_concurrent_payloads_one_is_refused():
    shop = Shop()
    answers = both_at_once(shop, request(request_id="a-1"), request(request_id="a-1", max_actions=1))
    assert sorted(isinstance(answer, Fault) for answer in answers) == [False, True]
    fault = next(answer for answer in answers if isinstance(answer, Fault))
    assert fault.reason_name == "IDENTIFIER_REUSED"


def test_a_full_queue_refuses_the_decision():
    shop = Shop()
    shop.log.queued = shop.log.queue_limit
    assert refused(shop, request_id="a-1") == "OVERLOADED"
    assert shop.decided == []
    shop.log.queued = 0
    assert shop.decide(request_id="a-1").request_id == "a-1"


@pytest.mark.parametrize(("queued", "is_kept"), [(4, True), (5, False), (9, False)])
def test_a_queue_half_full_drops_the_trace_first(queued, is_kept):
    shop = Shop()
    shop.log.queue_limit, shop.log.queued = 10, queued
    answer = shop.decide(request_id="a-1", include_explanation=True)
    assert answer.HasField("explanation")
    record = shop.logged(answer)
    assert record.response.HasField("explanation") is is_kept
    assert record.candidates
    answer.ClearField("explanation")
    record.response.ClearField("explanation")
    assert record.response == answer


def test_a_log_that_cannot_be_read_says_so_when_it_cannot_be_written_either():
    shop = Shop()
    shop.log.failure = NotLogged("gone")
    assert [reason.code for reason in shop.decide(request_id="a-1").reasons] == ["NOT_LOGGED"]
